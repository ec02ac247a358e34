//! gRPC's names of its status codes.

/// The names in the order of their codes, from 0 on.
///
/// Source: gRPC, "Status codes and their use in gRPC".
pub const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Returns the name of a code; `None` where gRPC has no such code.
#[must_use]
pub fn name(code: i32) -> Option<&'static str> {
    usize::try_from(code).ok().and_then(|at| NAMES.get(at)).copied()
}

/// Returns the code of a name; `None` where gRPC has no such name.
#[must_use]
pub fn code(name: &str) -> Option<i32> {
    NAMES.iter().position(|known| *known == name).and_then(|at| i32::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_lead_to_one_another_and_to_nothing_else() {
        for (expected, known) in (0..).zip(NAMES) {
            assert_eq!((name(expected), code(known)), (Some(known), Some(expected)));
        }
        assert_eq!((code("NOT_FOUND"), name(14)), (Some(5), Some("UNAVAILABLE")));
        assert_eq!((name(-1), name(17), code("not_found")), (None, None, None));
    }
}
