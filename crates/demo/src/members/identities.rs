//! Keys, authorities, certificates and the directory of the three members.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use contract::Contracts;
use federation::{
    Address, Directory, EntryDraft, GatewayEntry, GatewayId, MemberId, SystemId,
    authority::{Authority, Flavour, Issued},
};
use note::SigningKey;

use super::{ALL, COUNCIL, Member, MembersError, Ports, write_secret, write_text};

/// The name of each member's one gateway.
const GATEWAY: &str = "main";

/// How long others go by an entry.
const ENTRY_VALIDITY: Duration = Duration::from_hours(365 * 24);

/// Writes what says who the members are, and the directory into the folder of each. Returns the member keys, in the order of
/// [`ALL`].
pub(super) fn write(
    root: &Path,
    ports: &[Ports; 3],
    contracts: &Contracts,
    now: SystemTime,
) -> Result<Vec<SigningKey>, MembersError> {
    let mut directory = Directory::new();
    let mut keys = Vec::new();
    for (member, ports) in ALL.into_iter().zip(ports) {
        let identity = Identity::make(member, ports, contracts, now)?;
        identity.write(&root.join(member.folder))?;
        let entry = identity.draft.sign(&identity.member_key, &[]);
        let entry =
            entry.map_err(|problems| MembersError::problems(format!("the entry of `{}`", member.id), &problems))?;
        write_text(&root.join(member.folder).join("entry.note"), &entry.note().to_string())?;
        directory.add(entry).map_err(|error| MembersError::make("the directory", error))?;
        keys.push(identity.member_key);
    }
    for member in ALL {
        write_text(&root.join(member.folder).join("directory.note"), &directory.to_text())?;
    }
    stranger(root, now)?;
    Ok(keys)
}

/// Writes what anybody can make: an authority that calls itself the council's, and a certificate that it issued for one of the
/// council's systems. The directory does not know it.
fn stranger(root: &Path, now: SystemTime) -> Result<(), MembersError> {
    let what = |error: &dyn std::fmt::Display| MembersError::make("the stranger's certificate", error);
    let council: MemberId = COUNCIL.id.parse().map_err(|error| what(&error))?;
    let authority = Authority::create(&council, Flavour::Production, now).map_err(|error| what(&error))?;
    let system = SystemId::new(council, STRANGER).map_err(|error| what(&error))?;
    let certificate = authority.issue_system(&system, now).map_err(|error| what(&error))?;
    issued(&root.join("stranger"), STRANGER, &certificate)
}

/// The system that the stranger claims to be.
const STRANGER: &str = "social-care";

/// Everything that makes one member itself.
struct Identity {
    authority: Authority,
    member_key: SigningKey,
    gateway_key: SigningKey,
    log_key: SigningKey,
    gateway: Issued,
    systems: Vec<(&'static str, Issued)>,
    draft: EntryDraft,
}

impl Identity {
    fn make(member: &Member, ports: &Ports, contracts: &Contracts, now: SystemTime) -> Result<Identity, MembersError> {
        let what = |thing: &str| format!("{thing} of `{}`", member.id);
        let id: MemberId = member.id.parse().map_err(|error| MembersError::make(what("the id"), error))?;
        let gateway =
            GatewayId::new(id.clone(), GATEWAY).map_err(|error| MembersError::make(what("the gateway"), error))?;
        let key = |name: &str| SigningKey::generate(name).map_err(|error| MembersError::make(what("a key"), error));
        let member_key = key(&id.member_key_name())?;
        let gateway_key = key(&gateway.gateway_key_name())?;
        let log_key = key(&gateway.log_origin())?;
        let certificate = |error| MembersError::make(what("a certificate"), error);
        let authority = Authority::create(&id, Flavour::Production, now).map_err(certificate)?;
        let certified = authority.issue_gateway(&gateway, &["localhost", "127.0.0.1"], now).map_err(certificate)?;
        let mut systems = Vec::new();
        for name in member.systems {
            let system =
                SystemId::new(id.clone(), name).map_err(|error| MembersError::make(what("a system"), error))?;
            systems.push((*name, authority.issue_system(&system, now).map_err(certificate)?));
        }
        let address: Address =
            ports.links.to_string().parse().map_err(|error| MembersError::make(what("the address"), error))?;
        let offered = member.services.iter().filter_map(|name| contracts.service(name));
        let draft = EntryDraft {
            member: id,
            display_name: member.name.to_owned(),
            version: 1,
            valid_until: now + ENTRY_VALIDITY,
            roots: vec![authority.certificate().clone()],
            member_key: member_key.verifier(),
            former_member_keys: Vec::new(),
            gateways: vec![GatewayEntry::new(gateway, Some(address), gateway_key.verifier(), log_key.verifier())],
            contracts: offered.map(|service| (service.name.clone(), service.digest.to_string())).collect(),
        };
        Ok(Identity { authority, member_key, gateway_key, log_key, gateway: certified, systems, draft })
    }

    fn write(&self, folder: &Path) -> Result<(), MembersError> {
        write_secret(&folder.join("keys/gateway.key"), &self.gateway_key.to_text())?;
        write_secret(&folder.join("keys/log.key"), &self.log_key.to_text())?;
        write_secret(&folder.join("offline/member.key"), &self.member_key.to_text())?;
        write_text(&folder.join("offline/authority.pem"), &self.authority.certificate_pem())?;
        write_secret(&folder.join("offline/authority.key.pem"), &self.authority.key_pem())?;
        write_text(&folder.join("tls/authority.pem"), &self.authority.certificate_pem())?;
        issued(&folder.join("tls"), "gateway", &self.gateway)?;
        for (name, system) in &self.systems {
            issued(&folder.join("tls/systems"), name, system)?;
        }
        Ok(())
    }
}

/// Writes a certificate and its key as `<name>.pem` and `<name>.key.pem`.
fn issued(folder: &Path, name: &str, issued: &Issued) -> Result<(), MembersError> {
    write_text(&folder.join(format!("{name}.pem")), &issued.certificate_pem)?;
    write_secret(&folder.join(format!("{name}.key.pem")), &issued.key_pem)
}
