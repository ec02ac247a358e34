//! Is the application's metadata of an answer what the provider's gateway signed, and is all of it named in the agreement?

use http::HeaderMap;
use prost::Message as _;
use proto::link::ProviderClosing;

use super::{evidence::mismatch, permit::Permitted};
use crate::{
    application::{ApplicationMetadata, Said},
    refusal::Refusal,
};

/// Reads the metadata of an answer whose closing claims are verified. `opened` is what stood before its first message.
///
/// Where the agreement names nothing it is not looked at, and nothing of it goes on.
pub(super) fn of_answer(
    permitted: &mut Permitted,
    nonce: &[u8],
    trailers: &HeaderMap,
    opened: Option<ApplicationMetadata>,
) -> Result<Said, Refusal> {
    if permitted.plan.application_metadata.is_empty() {
        return Ok(Said::default());
    }
    let malformed = || mismatch("the application's metadata of the answer is malformed");
    let mut said = Said::read(trailers).ok_or_else(malformed)?;
    if let Some(opened) = opened {
        if !said.initial.is_empty() {
            return Err(malformed());
        }
        said.initial = opened;
    }
    all_named(permitted, &said.initial)?;
    all_named(permitted, &said.trailing)?;
    let account = &mut permitted.account;
    let closing = ProviderClosing::decode(account.shared.provider_closing.clone()).map_err(|_| malformed())?;
    if closing.metadata_digest != said.digest(nonce) {
        return Err(mismatch("the application's metadata of the answer is not what was signed"));
    }
    account.private.answer_metadata = said.keys();
    Ok(said)
}

/// Lets only what the agreement names go on.
pub(super) fn all_named(permitted: &Permitted, metadata: &ApplicationMetadata) -> Result<(), Refusal> {
    match metadata.unnamed(&permitted.plan.application_metadata) {
        None => Ok(()),
        Some(_) => Err(mismatch("the answer comes with metadata that the agreement does not name")),
    }
}
