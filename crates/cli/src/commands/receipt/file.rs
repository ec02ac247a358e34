//! The file of a receipt: its format on the first line, then the message in base64, so that it survives mail and clipboards.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use problem::Problem;
use prost::Message as _;
use proto::exchange::Receipt;
use records::RECEIPT_FORMAT;

use crate::{failure::Outcome, files};

/// Characters on a line.
const LINE: usize = 76;
/// Largest file that is read, in bytes. A record has at most 32 KiB, and a receipt opens two.
const MAX_BYTES: usize = 1024 * 1024;

/// Writes a receipt, in the place of one that may be there: a later one of the same exchange proves more.
pub(in crate::commands) fn write(path: &Path, receipt: &Receipt) -> Outcome {
    files::replace(path, &to_text(receipt), files::SECRET)
}

fn to_text(receipt: &Receipt) -> String {
    let encoded = STANDARD.encode(receipt.encode_to_vec());
    let mut text = format!("{RECEIPT_FORMAT}\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        text = format!("{text}{line}\n");
        rest = after;
    }
    text
}

/// Reads a receipt.
pub(super) fn read(path: &Path) -> Outcome<Receipt> {
    let text = files::read(path)?;
    parse(&text).map_err(|(what, help)| Problem::new(path, what).help(help).into())
}

fn parse(text: &str) -> Result<Receipt, (String, &'static str)> {
    const ANEW: &str = "get the file anew from whoever keeps it; it is copied as it is";
    if text.len() > MAX_BYTES {
        return Err((format!("the file is larger than {MAX_BYTES} bytes"), "a receipt has some 10 KiB"));
    }
    let (format, rest) = text.split_once('\n').unwrap_or((text, ""));
    let format = format.trim_end();
    let behind = format.strip_prefix(RECEIPT_FORMAT).unwrap_or_default();
    if !behind.is_empty() && !behind.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(("the lines of the receipt were joined, or something stands behind the first".to_owned(), ANEW));
    }
    if format != RECEIPT_FORMAT {
        return Err(if format.starts_with("drawbridge.receipt/") {
            let format: String = format.chars().take(2 * RECEIPT_FORMAT.len()).collect();
            (format!("this version reads `{RECEIPT_FORMAT}`, not `{format}`"), "install a newer Drawbridge")
        } else {
            ("this is not a receipt".to_owned(), "a receipt begins with the line `drawbridge.receipt/v1`")
        });
    }
    let encoded: String = rest.split_whitespace().collect();
    let bytes = STANDARD.decode(encoded).map_err(|_| ("what follows the first line is not base64".to_owned(), ANEW))?;
    Receipt::decode(bytes.as_slice()).map_err(|_| ("the receipt is cut off, or was changed".to_owned(), ANEW))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> Receipt {
        Receipt {
            format: RECEIPT_FORMAT.to_owned(),
            exchange_id: "0193a1c4-6b2f-7c3e-8a51-0d7c1a2b3c4d".repeat(4),
            ..Receipt::default()
        }
    }

    #[test]
    fn a_receipt_reads_back_also_with_other_line_ends() {
        let text = to_text(&receipt());
        assert!(text.lines().all(|line| line.len() <= LINE) && text.lines().count() > 2, "{text}");
        assert_eq!(parse(&text), Ok(receipt()));
        assert_eq!(parse(&text.replace('\n', "\r\n")), Ok(receipt()));
    }

    #[test]
    fn what_is_not_a_receipt_is_refused_for_its_own_reason() {
        let text = to_text(&receipt());
        let newer = text.replacen("/v1", "/v2", 1);
        let (what, help) = parse(&newer).unwrap_err();
        assert!(what.contains("not `drawbridge.receipt/v2`") && help.contains("newer"), "{what}");
        let joined = text.lines().collect::<String>();
        assert!(parse(&joined).unwrap_err().0.contains("were joined"));
        assert!(parse(&text.replacen("/v1", "/v10", 1)).unwrap_err().0.contains("not `drawbridge.receipt/v10`"));
        assert_eq!(parse("").unwrap_err().0, "this is not a receipt");
        assert!(parse(&text.replacen('a', "!", 3)).is_err());
        let cut = text.lines().take(2).collect::<Vec<_>>().join("\n");
        assert_eq!(parse(&cut).unwrap_err().0, "the receipt is cut off, or was changed");
    }
}
