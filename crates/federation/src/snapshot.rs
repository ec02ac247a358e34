//! The federation as one gateway knows it at one moment: an immutable snapshot of a directory.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use note::VerifierKey;
use problem::Problem;

use crate::certificate::Facts;
use crate::time::{distance, seconds, shown};
use crate::{Directory, Entry, GatewayEntry, GatewayId, MemberId};

/// How long before its end an entry or a root is warned of.
const WARN_BEFORE: Duration = Duration::from_hours(30 * 24);

/// The members, their roots, keys and gateways. A new directory makes a new snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Federation {
    directory: Directory,
    /// Which member and gateway a log belongs to.
    logs: BTreeMap<String, GatewayId>,
}

impl Federation {
    /// Makes a snapshot of `directory`. `previous` is the snapshot that it follows, if one is known: keep the last accepted
    /// directory beside the data, so that a restart does not forget it.
    ///
    /// A member that is no longer in the directory is accepted as gone.
    ///
    /// # Errors
    ///
    /// Every problem at once: an entry that may not follow the one known (see [`Entry::check_succession`]); a root or a key
    /// that two members list, since either could then speak for the other.
    pub fn load(directory: Directory, previous: Option<&Federation>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let file = directory.file().to_owned();
        for entry in directory.entries() {
            if let Some(known) = previous.and_then(|previous| previous.member(&entry.member))
                && let Err(error) = entry.check_succession(known)
            {
                problems.push(error.problem(&file));
            }
        }
        let mut owners: BTreeMap<Vec<u8>, (&MemberId, &'static str)> = BTreeMap::new();
        for entry in directory.entries() {
            for (secret, what) in ends(entry) {
                match owners.insert(secret, (&entry.member, what)) {
                    Some((other, _)) if *other != entry.member => problems.push(
                        Problem::new(&file, format!("`{other}` and `{}` list the same {what}", entry.member))
                            .help("either could speak for the other; ask both which one it belongs to, and leave the other out"),
                    ),
                    Some(_) | None => {}
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let gateways = directory.entries().flat_map(|entry| &entry.gateways);
        let logs = gateways.map(|gateway| (gateway.log_origin.clone(), gateway.id.clone())).collect();
        Ok(Self { directory, logs })
    }

    /// Returns the directory that it was made of.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Returns the entry of a member.
    #[must_use]
    pub fn member(&self, member: &MemberId) -> Option<&Entry> {
        self.directory.entry(member)
    }

    /// Returns all entries in the order of their member ids.
    #[must_use]
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.directory.entries()
    }

    /// Returns a gateway, retired or not.
    #[must_use]
    pub fn gateway(&self, gateway: &GatewayId) -> Option<&GatewayEntry> {
        self.member(gateway.member())?.gateway(gateway.name())
    }

    /// Returns the gateway that keeps the log of this origin.
    #[must_use]
    pub fn log(&self, origin: &str) -> Option<&GatewayEntry> {
        self.gateway(self.logs.get(origin)?)
    }

    /// Returns the keys that sign for a member, the current one first. Empty for a member that is not known.
    #[must_use]
    pub fn member_keys(&self, member: &MemberId) -> Vec<VerifierKey> {
        self.member(member).map(Entry::member_keys).unwrap_or_default()
    }

    /// Returns the keys that sign claims for a gateway, the current one first. Empty for a gateway that is not known.
    #[must_use]
    pub fn gateway_keys(&self, gateway: &GatewayId) -> Vec<VerifierKey> {
        self.gateway(gateway).map(GatewayEntry::gateway_keys).unwrap_or_default()
    }

    /// Returns the gateway keys whose signatures made at `when` count: the current one, and former ones until their time.
    #[must_use]
    pub fn gateway_keys_at(&self, gateway: &GatewayId, when: SystemTime) -> Vec<VerifierKey> {
        let Some(gateway) = self.gateway(gateway) else { return Vec::new() };
        let retired = gateway.retired.is_some_and(|retired| seconds(when) > seconds(retired));
        let current = (!retired).then_some(&gateway.gateway_key);
        let former = gateway.former_gateway_keys.iter().filter(|former| former.covers(when)).map(|former| &former.key);
        current.into_iter().chain(former).cloned().collect()
    }

    /// Returns the keys that sign the checkpoints of a log, the current one first. Empty for a log that is not known.
    #[must_use]
    pub fn log_keys(&self, origin: &str) -> Vec<VerifierKey> {
        self.log(origin).map(GatewayEntry::log_keys).unwrap_or_default()
    }

    /// Returns the members whose roots are not for production. A gateway outside development mode refuses them.
    pub fn development_members(&self) -> impl Iterator<Item = &MemberId> {
        self.members().filter(|entry| entry.is_development()).map(|entry| &entry.member)
    }

    /// Returns what someone should look at: entries and roots that have ended, or do so within 30 days of `now`.
    #[must_use]
    pub fn warnings(&self, now: SystemTime) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for entry in self.members() {
            let member = &entry.member;
            let mut look = |subject: String, ends: SystemTime| {
                if ends > now.checked_add(WARN_BEFORE).unwrap_or(now) {
                    return;
                }
                let (apart, at) = (distance(ends, now), shown(ends));
                let when = if ends < now { format!("ended {apart} ago") } else { format!("ends in {apart}") };
                warnings.push(Warning::new(member, format!("{subject} of `{member}` {when} ({at})")));
            };
            look("the directory entry".to_owned(), entry.valid_until);
            for facts in entry.roots.iter().filter_map(|root| Facts::read(root).ok()) {
                look(format!("the root with serial {}", facts.serial), facts.not_after);
            }
        }
        warnings
    }
}

/// Something of a member that someone should look at, though everything still works. `Display` writes it for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    member: MemberId,
    what: String,
}

impl Warning {
    pub(crate) fn new(member: &MemberId, what: String) -> Self {
        Self { member: member.clone(), what }
    }

    /// Returns the member that it is about.
    #[must_use]
    pub fn member(&self) -> &MemberId {
        &self.member
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Everything in an entry that lets its holder speak for the member, as bytes, with a word for it.
fn ends(entry: &Entry) -> Vec<(Vec<u8>, &'static str)> {
    let keys = entry.gateways.iter().flat_map(|gateway| gateway.gateway_keys().into_iter().chain(gateway.log_keys()));
    let keys = entry.member_keys().into_iter().chain(keys).map(|key| (key.public().to_vec(), "key"));
    let roots = entry.roots.iter().filter_map(|root| Facts::read(root).ok()).map(|facts| (facts.public_key, "root"));
    keys.chain(roots).collect()
}

#[cfg(test)]
mod tests;
