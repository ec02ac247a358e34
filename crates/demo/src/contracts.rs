//! The contracts of the three sample members, embedded from the folder `proto/` at the root.

/// The `.proto` files that a member's gateway loads: import path and text. All three load all of them, since each asks others.
pub const PROTOS: [(&str, &str); 4] = [
    ("council/v1/authorities.proto", include_str!("../../../proto/council/v1/authorities.proto")),
    ("health/v1/encounters.proto", include_str!("../../../proto/health/v1/encounters.proto")),
    ("health/v1/patients.proto", include_str!("../../../proto/health/v1/patients.proto")),
    ("police/v1/neighbourhoods.proto", include_str!("../../../proto/police/v1/neighbourhoods.proto")),
];
