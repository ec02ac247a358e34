//! Whose keys count for whom.

use federation::MemberId;
use note::VerifierKey;

/// Says which member keys are those of a member: the current one and the former ones, so that rotating a key breaks no agreement.
///
/// A function from member to keys is one.
pub trait MemberKeys {
    /// Returns the keys of `member`; none when the member is not known.
    fn member_keys(&self, member: &MemberId) -> Vec<VerifierKey>;
}

impl<F: Fn(&MemberId) -> Vec<VerifierKey>> MemberKeys for F {
    fn member_keys(&self, member: &MemberId) -> Vec<VerifierKey> {
        self(member)
    }
}
