//! What a grant compiles to: all that an exchange needs to know, made once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};
use contract::{Digest, Kind, Method, Projection};
use federation::SystemId;

use crate::grant::{Limits, Required};

/// What one grant allows for one method and one purpose.
#[derive(Debug)]
pub struct Plan {
    /// The method, as the version of the contract has it that was agreed on. The loaded version is the same, or came after it and is
    /// backward compatible.
    pub method: Arc<Method>,
    /// The position of the grant in its agreement, from 0.
    pub grant: usize,
    /// The purpose.
    pub purpose: Arc<str>,
    /// The law that allows the purpose, in the words of the agreement.
    pub legal_basis: Arc<str>,
    /// The consumer's systems that may ask.
    pub systems: Arc<BTreeSet<SystemId>>,
    /// Takes from an answer what is not released.
    pub projection: Arc<Projection>,
    /// The digest of the list of released field paths, by [`fields_digest`].
    pub released_digest: Digest,
    /// The digest of the list of withheld field paths, by [`fields_digest`].
    pub withheld_digest: Digest,
    /// Metadata that must come with the call.
    pub required: Required,
    /// What the method does: what the contract says, else what the agreement says.
    pub kind: Kind,
    /// How much may be asked.
    pub limits: Limits,
    /// Keys of the application's metadata that may cross.
    pub application_metadata: Arc<BTreeSet<String>>,
    /// The contract that the agreement was made against, which claims name.
    pub contract_digest: Digest,
    /// The first instant at which the plan holds.
    pub valid_from: SystemTime,
    /// The first instant at which the plan no longer holds.
    pub expires: SystemTime,
}

/// Returns the digest of a list of field paths: SHA-256 of `drawbridge.fields/v1` and a newline, then each path and a newline.
///
/// `paths` are sorted by their bytes and have no newlines in them, as [`Projection::released`] and [`Projection::withheld`] return
/// them. The same list has one digest whether its fields are released or withheld; the claims say which list it is.
#[must_use]
pub fn fields_digest(paths: &[String]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(b"drawbridge.fields/v1\n");
    for path in paths {
        context.update(path.as_bytes());
        context.update(b"\n");
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Digest(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_list_of_fields_is_fixed() {
        // Made with: printf 'drawbridge.fields/v1\nid\nname.family\n' | sha256sum
        let paths = ["id".to_owned(), "name.family".to_owned()];
        assert_eq!(
            fields_digest(&paths).to_string(),
            "sha256:04b6979a27ac9abf968963e02d09d23b7e8a664783536377f95065d7a8caa676"
        );
        // Made with: printf 'drawbridge.fields/v1\n' | sha256sum
        assert_eq!(
            fields_digest(&[]).to_string(),
            "sha256:924b43bf5372d97726c6c63c4c722b3756c1de0f02ab56ccc1a28e7554ac85c2"
        );
    }
}
