//! The chapters, in the order in which they are told.

mod answers;
mod evidence;
mod kill;
mod limits;
mod refusals;
mod setting;

use super::{StoryError, stage::Stage};

pub(crate) use setting::invite;

/// Tells them all. A chapter that breaks is marked, and the next one is told all the same.
pub(crate) async fn tell(stage: &mut Stage) -> Result<(), StoryError> {
    setting::tell(stage).await?;
    answers::one_person(stage).await?;
    answers::every_row(stage).await?;
    answers::nobody_named(stage).await?;
    refusals::without_agreement(stage).await?;
    refusals::for_another_purpose(stage).await?;
    refusals::after_the_end(stage).await?;
    refusals::a_strangers_certificate(stage).await?;
    limits::a_deadline(stage).await?;
    kill::in_mid_stream(stage).await?;
    evidence::both_logs(stage).await?;
    evidence::one_byte(stage).await?;
    setting::summary(stage);
    Ok(())
}
