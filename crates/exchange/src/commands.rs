//! How a command is known: by its caller's key, within the system that asks and the method that is asked.
//!
//! The formats are in `FORMATS.md`, "commands".

use aws_lc_rs::{digest, hmac};
use proto::link::ConsumerClaims;
use records::CommandKey;

use crate::digests::bytes_of;

/// Returns what claims say of a caller's key: a hash within the scope, so that a key that means something elsewhere tells the
/// provider nothing that it could not guess, and the same key of another system or method is another one.
#[must_use]
pub fn claimed_key(consumer: &str, system: &str, method: &str, key: &str) -> [u8; 32] {
    let scope = scope("drawbridge.command-key/v1", consumer, system, method).finish();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, scope.as_ref()), key.as_bytes());
    bytes_of(tag.as_ref())
}

/// Returns what the provider knows a command by. It hashes the scope of the claims once more: what a consumer's gateway says of its
/// own keys has no part in another member's.
#[must_use]
pub fn key_of(claims: &ConsumerClaims) -> CommandKey {
    key_in(&claims.consumer, &claims.consumer_system, &claims.method, &claims.idempotency_key)
}

/// As [`key_of`], of a key as claims have it.
#[must_use]
pub fn key_in(consumer: &str, system: &str, method: &str, claimed: &[u8]) -> CommandKey {
    let mut scope = scope("drawbridge.command/v1", consumer, system, method);
    scope.update(claimed);
    CommandKey(bytes_of(scope.finish().as_ref()))
}

/// None of the parts can hold a newline: ids, names and paths are checked before.
fn scope(tag: &str, consumer: &str, system: &str, method: &str) -> digest::Context {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [tag, consumer, system, method] {
        context.update(part.as_bytes());
        context.update(b"\n");
    }
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_one_system_and_one_method() {
        let of = |system, method| claimed_key("council.example", system, method, "rent-2026-11");
        let all = [of("housing", "/a.B/C"), of("tax", "/a.B/C"), of("housing", "/a.B/D")];
        assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2]);
        assert_eq!(of("housing", "/a.B/C"), all[0]);
        let own = |consumer| key_in(consumer, "housing", "/a.B/C", &all[0]);
        assert!(own("council.example") != own("trust.example"));
    }
}
