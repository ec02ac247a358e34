//! Pages of the documentation whose lines are run as they stand there.

/// A block of code.
#[derive(Clone, Debug)]
pub struct Block {
    /// What stands behind the opening fence, as `sh` or `text`.
    pub info: String,
    /// Its lines.
    pub text: String,
}

/// Takes the blocks of code out of a page, in their order.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        match (line.strip_prefix("```"), open) {
            (Some(_), true) => open = false,
            (Some(info), false) => {
                open = true;
                blocks.push(Block { info: info.to_owned(), text: String::new() });
            }
            (None, true) => {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!open, "a block of code has no end");
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_what_they_are() {
        let found = blocks("a\n```sh install\nx\n\ny\n```\nb\n```text\nz\n```\n");
        let found: Vec<(&str, &str)> = found.iter().map(|b| (b.info.as_str(), b.text.as_str())).collect();
        assert_eq!(found, [("sh install", "x\n\ny\n"), ("text", "z\n")]);
    }
}
