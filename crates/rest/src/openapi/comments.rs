//! Comments of contracts, by what they stand at.

use std::collections::HashMap;

use prost_reflect::FileDescriptor;

#[derive(Default)]
pub(super) struct Comments {
    files: HashMap<String, HashMap<Vec<i32>, String>>,
}

impl Comments {
    /// Returns the comment before the element at `path` of `file`, else the one behind it.
    pub(super) fn of(&mut self, file: &FileDescriptor, path: &[i32]) -> Option<String> {
        let known = self.files.entry(file.name().to_owned()).or_insert_with(|| read(file));
        known.get(path).cloned()
    }
}

fn read(file: &FileDescriptor) -> HashMap<Vec<i32>, String> {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let locations = info.map(|info| info.location.as_slice()).unwrap_or_default();
    locations
        .iter()
        .filter_map(|location| {
            let comment = location.leading_comments.as_deref().or(location.trailing_comments.as_deref())?;
            let comment = tidy(comment);
            (!comment.is_empty()).then(|| (location.path.clone(), comment))
        })
        .collect()
}

/// Takes the space after `//` out, and empty lines around.
fn tidy(comment: &str) -> String {
    let lines: Vec<&str> = comment.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n").trim().to_owned()
}
