//! The messages of our own wire, generated from the folder `proto/`. Nothing here is written by hand but what debug output hides.

/// `drawbridge`: our own packages.
pub mod drawbridge {
    /// What gateways say to one another.
    pub mod link {
        /// Version 1.
        #[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/drawbridge.link.v1.rs"));
        }
    }
    /// What a leaf of the log stands for.
    pub mod records {
        /// Version 1.
        #[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/drawbridge.records.v1.rs"));
        }
    }
    /// What a partner system asks its own gateway.
    pub mod exchange {
        /// Version 1.
        #[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/drawbridge.exchange.v1.rs"));
        }
    }
}

pub use drawbridge::{exchange::v1 as exchange, link::v1 as link, records::v1 as records};

/// Gives messages a `Debug` that names them and no more: whatever holds one can be printed without telling of persons.
macro_rules! hidden {
    ($($message:path),+ $(,)?) => {
        $(impl std::fmt::Debug for $message {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(concat!(stringify!($message), "(hidden)"))
            }
        })+
    };
}

hidden!(
    link::Actor,
    link::ConsumerClaims,
    link::outcome_response::Answer,
    records::Body,
    records::Shared,
    records::Private,
    records::KeptAnswer,
    exchange::Receipt,
    exchange::Disclosure,
);

/// The descriptor set of these packages, for reflection.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/drawbridge.binpb"));
