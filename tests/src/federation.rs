//! Two members with everything they need, in a temporary folder.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use contract::{Contracts, Source};
use federation::{
    Directory, EntryDraft, GatewayEntry, GatewayId, MemberId, SystemId,
    authority::{Authority, Flavour, Reason, Revocations},
};
use http::HeaderMap;
use note::SigningKey;
use policy::{AgreementFile, EndNote};
use tempfile::TempDir;

use crate::{
    client::{Client, Reply, metadata},
    ports::free_ports,
    process::Gateway,
};

/// The member that asks.
pub const COUNCIL: &str = "council.example";
/// The member that answers.
pub const TRUST: &str = "trust.example";
/// Another member that asks, where there are three.
pub const POLICE: &str = "police.example";
/// The purpose of the standard agreement.
pub const PURPOSE: &str = "safeguarding";
/// A case, for calls that need one.
pub const CASE: &str = "case-1";

const HOUR: Duration = Duration::from_hours(1);
const LEGACY: &str = "
    CREATE TABLE rec (id INTEGER PRIMARY KEY, gv TEXT, fm TEXT, sec TEXT);
    INSERT INTO rec VALUES (1, 'Ada', 'Archer', 'canary-7f3a-secret'), (2, 'Ben', 'Brook', 'canary-7f3a-secret');
";
/// Bindings of the answering member, over [`LEGACY`].
const BINDINGS: &str = r#"
[database.legacy]
url = "sqlite:legacy.db"

[[binding]]
method = "test.v1.Records/Find"
connector = { kind = "sql", database = "legacy", query = '''SELECT id, gv AS "name.given", fm AS "name.family", sec AS secret, 'checked' AS note FROM rec WHERE id = :id''' }

[[binding]]
method = "test.v1.Records/List"
connector = { kind = "sql", database = "legacy", query = '''WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) SELECT i AS id, 'given' AS "name.given", 'family' AS "name.family", 'canary-7f3a-secret' AS secret, 'a note that makes the row a little longer than it would be' AS note FROM n WHERE i <= :count''' }

[[binding]]
method = "test.v1.Records/Slow"
connector = { kind = "sql", database = "legacy", query = '''WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000000) SELECT max(i) AS id FROM n WHERE i > :id''' }

[[binding]]
method = "test.v1.Records/Hidden"
connector = { kind = "sql", database = "legacy", query = '''SELECT id FROM rec WHERE id = :id''' }
"#;

/// A federation of two members, or of three.
pub struct TestFederation {
    root: TempDir,
    members: BTreeMap<&'static str, Member>,
    contracts: Contracts,
}

/// One member: its folder, keys and ports.
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// Its folder.
    pub folder: PathBuf,
    /// Its authority.
    pub authority: Authority,
    /// Signs agreements.
    pub member_key: SigningKey,
    /// Signs claims.
    pub gateway_key: SigningKey,
    /// Its one gateway.
    pub gateway: GatewayId,
    /// Where links come in.
    pub links: SocketAddr,
    /// Where clients come in.
    pub clients: SocketAddr,
    /// Where metrics are.
    pub operations: SocketAddr,
    /// The address in its directory entry, where it is another than [`Member::links`].
    announced: Option<String>,
    /// It has no address in its entry: it asks, and nobody can dial it.
    hidden: bool,
    process: Option<Gateway>,
}

/// An agreement to be made, with what most tests want.
pub struct Agreement {
    /// Its id.
    pub id: String,
    /// The member that may ask.
    pub consumer: &'static str,
    /// Its grants, as TOML; `@digest:SERVICE@` stands for a digest.
    pub grants: String,
    /// The purposes with their legal bases, as TOML.
    pub purposes: String,
    /// From when.
    pub from: SystemTime,
    /// Until when.
    pub until: SystemTime,
}

impl Default for Agreement {
    /// `revenues` may find and list records for safeguarding, without the secret; cases are required to find.
    fn default() -> Self {
        let now = SystemTime::now();
        Self {
            id: "standard".to_owned(),
            consumer: COUNCIL,
            grants: r#"
[[grant]]
service = "test.v1.Records"
digest = "@digest:test.v1.Records@"
methods = ["Find", "Unbound"]
systems = ["revenues"]
purposes = ["safeguarding"]
fields = ["id", "name.family", "note"]
require = ["case"]

[[grant]]
service = "test.v1.Records"
digest = "@digest:test.v1.Records@"
methods = ["List", "Slow"]
systems = ["revenues"]
purposes = ["safeguarding"]
fields = { classification = ["public", "official"] }

[[grant]]
service = "test.v1.Echo"
digest = "@digest:test.v1.Echo@"
methods = ["Say", "Repeat"]
systems = ["revenues"]
purposes = ["safeguarding"]
fields = "all"
"#
            .to_owned(),
            purposes: "[purpose.safeguarding]\nlegal_basis = \"Children Act 2004, section 11\"\n".to_owned(),
            from: now - HOUR,
            until: now + 24 * HOUR,
        }
    }
}

impl TestFederation {
    /// Makes both members, with the standard agreement between them. Nothing runs yet.
    pub async fn new() -> Self {
        let federation = Self::without_agreement().await;
        federation.agree(&Agreement::default());
        federation
    }

    /// Makes both members with no agreement between them.
    pub async fn without_agreement() -> Self {
        Self::of(&[(COUNCIL, &["revenues", "planning"]), (TRUST, &["discharge"])]).await
    }

    /// Makes three members: the police ask the trust as the council does, with a system and an agreement of their own. Nothing runs yet.
    pub async fn of_three() -> Self {
        let federation = Self::of(&[(COUNCIL, &["revenues"]), (POLICE, &["revenues"]), (TRUST, &["discharge"])]).await;
        federation.agree(&Agreement::default());
        federation.agree(&Agreement { id: "police".to_owned(), consumer: POLICE, ..Agreement::default() });
        federation
    }

    async fn of(of: &[(&'static str, &[&str])]) -> Self {
        let root = tempfile::Builder::new().prefix("drawbridge-it-").tempdir().unwrap();
        let contracts = contracts();
        let mut members = BTreeMap::new();
        for (id, systems) in of.iter().copied() {
            members.insert(id, Member::make(root.path(), id, systems).await);
        }
        let federation = Self { root, members, contracts };
        federation.publish(1);
        federation
    }

    /// Writes the directory into both folders, with entries of this version.
    pub fn publish(&self, version: u64) {
        let mut directory = Directory::new();
        for member in self.members.values() {
            directory.add(member.entry(version).sign(&member.member_key, &[]).unwrap()).unwrap();
        }
        for member in self.members.values() {
            fs::write(member.folder.join("directory.note"), directory.to_text()).unwrap();
        }
    }

    /// Writes the directory into both folders, with entries of this version, in which the gateway of a member has another address.
    pub fn announce(&mut self, id: &str, address: &str, version: u64) {
        self.members.get_mut(id).unwrap().announced = Some(address.to_owned());
        self.publish(version);
    }

    /// Writes the directory into both folders, with entries of this version, in which the gateway of a member has no address.
    pub fn hide(&mut self, id: &str, version: u64) {
        self.members.get_mut(id).unwrap().hidden = true;
        self.publish(version);
    }

    /// Makes an agreement, signed by both, and puts it into both folders.
    pub fn agree(&self, agreement: &Agreement) {
        for party in [agreement.consumer, TRUST] {
            self.agree_at(agreement, self.member(party));
        }
    }

    /// Makes an agreement, signed by both, and puts it into the folder of one member alone.
    pub fn agree_at(&self, agreement: &Agreement, member: &Member) {
        let mut file = AgreementFile::parse("agreement.toml", &self.text(agreement)).unwrap();
        for party in [agreement.consumer, TRUST] {
            file.sign(&self.member(party).member_key).unwrap();
        }
        gateway::write_atomically(&member.folder.join(format!("agreements/{}.note", agreement.id)), &file.to_string())
            .unwrap();
    }

    /// Ends an agreement, as `by`, in that member's folder alone: its gateway hands the end note on.
    pub fn end(&self, agreement: &Agreement, by: &str) {
        let file = AgreementFile::parse("agreement.toml", &self.text(agreement)).unwrap();
        let member = self.member(by);
        let note = EndNote::sign(file.agreement(), &member.member_key, SystemTime::now(), None).unwrap();
        gateway::write_atomically(
            &member.folder.join(format!("agreements/{}.end.note", agreement.id)),
            &note.to_string(),
        )
        .unwrap();
    }

    fn text(&self, agreement: &Agreement) -> String {
        let time = |time: SystemTime| {
            let seconds = jiff::Timestamp::try_from(time).unwrap().as_second();
            jiff::Timestamp::from_second(seconds).unwrap().to_string()
        };
        // On its second day, or on its last: never before today for one that has just begun, at whatever hour this runs.
        let day = |at| jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::try_from(at).unwrap()).date();
        let second = agreement.from + std::time::Duration::from_hours(24);
        let review = day(second).min(day(agreement.until));
        let Agreement { id, consumer, grants, purposes, from, until } = agreement;
        let mut text = format!(
            "format = \"drawbridge.agreement/v1\"\nid = \"{id}\"\nconsumer = \"{consumer}\"\nprovider = \"{TRUST}\"\nvalid_from = {}\nvalid_until = {}\nreview_on = {review}\nretention = \"6 years\"\n{purposes}{grants}",
            time(*from),
            time(*until),
        );
        for service in self.contracts.services() {
            text = text.replace(&format!("@digest:{}@", service.name), &service.digest.to_string());
        }
        text
    }

    /// Starts all gateways, the one that is asked first.
    #[must_use]
    pub fn start(mut self) -> Self {
        let asking: Vec<&str> = self.members.keys().copied().filter(|id| *id != TRUST).collect();
        for id in [TRUST].into_iter().chain(asking) {
            self.restart(id);
        }
        self
    }

    /// Starts the gateway of one member, or starts it again.
    pub fn restart(&mut self, id: &str) {
        let member = self.members.get_mut(id).unwrap();
        drop(member.process.take());
        member.process = Some(Gateway::start(&member.folder));
    }

    /// Takes the process of a member out, to be killed or watched.
    pub fn take(&mut self, id: &str) -> Gateway {
        self.members.get_mut(id).unwrap().process.take().unwrap()
    }

    /// Puts a process in.
    pub fn put(&mut self, id: &str, process: Gateway) {
        self.members.get_mut(id).unwrap().process = Some(process);
    }

    /// A member.
    pub fn member(&self, id: &str) -> &Member {
        &self.members[id]
    }

    /// The folder that holds the members' own.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The contracts of the tests.
    pub fn contracts(&self) -> &Contracts {
        &self.contracts
    }

    /// Connects the council's system `revenues` to its own gateway.
    pub async fn revenues(&self) -> Client {
        self.member(COUNCIL).connect("revenues").await.unwrap()
    }

    /// Encodes a request of the test contract from JSON.
    pub fn request(&self, method: &str, json: &str) -> Vec<u8> {
        self.contracts.method(&format!("/{method}")).unwrap().request_from_json(json).unwrap()
    }

    /// Decodes an answer of the test contract to JSON.
    pub fn answer(&self, method: &str, message: &[u8]) -> serde_json::Value {
        serde_json::from_str(&self.contracts.method(&format!("/{method}")).unwrap().answer_to_json(message).unwrap())
            .unwrap()
    }

    /// Calls a method as `revenues` with the standard metadata.
    pub async fn call(&self, method: &str, json: &str) -> Reply {
        let request = self.request(method, json);
        self.revenues().await.call(&format!("/{method}"), &standard(), &request).await.unwrap()
    }
}

/// The metadata of a call under the standard agreement.
pub fn standard() -> HeaderMap {
    metadata(&[("drawbridge-provider", TRUST), ("drawbridge-purpose", PURPOSE), ("drawbridge-case", CASE)])
}

/// The contracts of the tests.
pub fn contracts() -> Contracts {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let source: Source = gateway::load::contract_source(&folder).unwrap();
    Contracts::load(&[source]).unwrap()
}

impl Member {
    async fn make(root: &Path, id: &'static str, systems: &[&str]) -> Self {
        let folder = root.join(id);
        let now = SystemTime::now();
        let member: MemberId = id.parse().unwrap();
        let gateway = GatewayId::new(member.clone(), "main").unwrap();
        let key = |name: &str| SigningKey::generate(name).unwrap();
        let (member_key, gateway_key, log_key) =
            (key(&member.member_key_name()), key(&gateway.gateway_key_name()), key(&gateway.log_origin()));
        let authority = Authority::create(&member, Flavour::Production, now).unwrap();
        for inner in ["agreements", "revocation", "data", "keys", "tls", "systems", "offline"] {
            fs::create_dir_all(folder.join(inner)).unwrap();
        }
        let issued = authority.issue_gateway(&gateway, &["localhost", "127.0.0.1"], now).unwrap();
        fs::write(folder.join("tls/gateway.pem"), &issued.certificate_pem).unwrap();
        secret(&folder.join("tls/gateway.key.pem"), &issued.key_pem);
        for system in systems {
            let issued = authority.issue_system(&SystemId::new(member.clone(), system).unwrap(), now).unwrap();
            fs::write(folder.join(format!("systems/{system}.pem")), &issued.certificate_pem).unwrap();
            secret(&folder.join(format!("systems/{system}.key.pem")), &issued.key_pem);
        }
        secret(&folder.join("keys/gateway.key"), &gateway_key.to_text());
        secret(&folder.join("keys/log.key"), &log_key.to_text());
        secret(&folder.join("offline/member.key"), &member_key.to_text());
        fs::write(folder.join("offline/authority.pem"), authority.certificate_pem()).unwrap();
        let [links, clients, operations] = free_ports();
        let log_origin = log_key.verifier();
        fs::write(folder.join("log.vkey"), log_origin.to_string()).unwrap();
        let mut config = format!(
            "format = \"drawbridge.gateway/v1\"\nmember = \"{id}\"\ngateway = \"main\"\n[links]\nlisten = \"{links}\"\n[clients]\nlisten = \"{clients}\"\n[operations]\nlisten = \"{operations}\"\n[contracts]\nsources = [\"proto\"]\n[limits]\ndrain = \"2s\"\n"
        );
        if id == TRUST {
            config.push_str(BINDINGS);
            legacy(&folder.join("legacy.db")).await;
        }
        fs::write(folder.join("gateway.toml"), config).unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("proto"), &folder.join("proto"));
        Self {
            id: member,
            folder,
            authority,
            member_key,
            gateway_key,
            gateway,
            links,
            clients,
            operations,
            announced: None,
            hidden: false,
            process: None,
        }
    }

    /// Writes its entry of this version into its folder, as `drawbridge init` does, and returns the text.
    pub fn write_entry(&self, version: u64) -> String {
        let text = self.entry(version).sign(&self.member_key, &[]).unwrap().note().to_string();
        fs::write(self.folder.join("entry.note"), &text).unwrap();
        text
    }

    fn entry(&self, version: u64) -> EntryDraft {
        let log: note::VerifierKey = fs::read_to_string(self.folder.join("log.vkey")).unwrap().parse().unwrap();
        EntryDraft {
            member: self.id.clone(),
            display_name: "A member of the tests".to_owned(),
            version,
            valid_until: SystemTime::now() + 1000 * HOUR,
            roots: vec![self.authority.certificate().clone()],
            member_key: self.member_key.verifier(),
            former_member_keys: vec![],
            gateways: vec![GatewayEntry::new(
                self.gateway.clone(),
                (!self.hidden)
                    .then(|| self.announced.clone().unwrap_or_else(|| self.links.to_string()).parse().unwrap()),
                self.gateway_key.verifier(),
                log,
            )],
            contracts: vec![],
        }
    }

    /// The process that runs.
    pub fn process(&self) -> &Gateway {
        self.process.as_ref().expect("the gateway runs")
    }

    /// Where the ledger lies.
    pub fn ledger(&self) -> PathBuf {
        self.folder.join("data/ledger")
    }

    /// Adds to the configuration.
    pub fn configure(&self, toml: &str) {
        let path = self.folder.join("gateway.toml");
        fs::write(&path, format!("{}{toml}", fs::read_to_string(&path).unwrap())).unwrap();
    }

    /// Renews its gateway's certificate, and returns it; the key, which is new too, is written after it.
    pub fn renew(&self) -> String {
        let issued =
            self.authority.issue_gateway(&self.gateway, &["localhost", "127.0.0.1"], SystemTime::now()).unwrap();
        fs::write(self.folder.join("tls/gateway.pem"), &issued.certificate_pem).unwrap();
        fs::write(self.folder.join("tls/gateway.key.pem"), issued.key_pem.as_bytes()).unwrap();
        issued.certificate_pem.clone()
    }

    /// How its gateway says that it stands.
    pub async fn status(&self) -> gateway::status::Status {
        gateway::status::fetch(self.operations).await.unwrap()
    }

    /// Has its gateway read its files again by SIGHUP, and waits until they are in force.
    pub async fn reload(&self) {
        let before = self.status().await.reload.taken;
        self.process().signal("-HUP");
        self.reloaded_since(before).await;
    }

    /// Waits until more than `before` reloads have been taken and none is refused.
    pub async fn reloaded_since(&self, before: u64) {
        crate::eventually("the files are in force", 30, async || {
            let reload = self.status().await.reload;
            (reload.taken > before && reload.refused.is_none()).then_some(())
        })
        .await;
    }

    /// Waits until a reload is refused, and returns why.
    pub async fn refused(&self) -> String {
        crate::eventually("the files are refused", 30, async || {
            Some(self.status().await.reload.refused?.problems.join("\n"))
        })
        .await
    }

    /// Replaces in the configuration.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let path = self.folder.join("gateway.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }

    /// Connects one of its systems to its clients' port.
    ///
    /// # Errors
    ///
    /// When TCP, TLS or HTTP/2 does not come about.
    pub async fn connect(&self, system: &str) -> anyhow::Result<Client> {
        let read = |name: String| fs::read_to_string(self.folder.join(name)).unwrap();
        Client::connect(
            self.clients,
            &self.authority.certificate_pem(),
            &read(format!("systems/{system}.pem")),
            &read(format!("systems/{system}.key.pem")),
        )
        .await
    }

    /// Its gateway's own TLS certificate and key.
    pub fn gateway_tls(&self) -> (String, String) {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap();
        (read("tls/gateway.pem"), read("tls/gateway.key.pem"))
    }

    /// Revokes a certificate of its own (PEM) and puts the list into the folder of `at`.
    pub fn revoke(&self, certificate: &str, at: &Member) {
        let der = federation::certificate::read_pem(certificate).unwrap().remove(0);
        let facts = federation::certificate::Facts::read(&der).unwrap();
        let mut revocations = Revocations::new(self.id.clone());
        revocations.revoke(&facts.serial, None, Reason::KeyCompromise, SystemTime::now()).unwrap();
        let list = self.authority.revocation_list(&mut revocations, SystemTime::now(), 24 * HOUR).unwrap();
        gateway::write_atomically(&at.folder.join(format!("revocation/{}.crl.pem", self.id)), &list).unwrap();
    }

    /// Its metrics.
    pub fn metrics(&self) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.operations).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// All records of its log, opened.
    pub fn records(&self) -> Vec<records::Record> {
        let reader = ledger::Reader::open(self.ledger()).unwrap();
        reader.entries().map(|stored| records::Record::open(stored.unwrap()).unwrap()).collect()
    }

    /// The records of one exchange.
    pub fn records_of(&self, exchange: &str) -> Vec<records::Record> {
        self.records()
            .into_iter()
            .filter(|record| record.exchange().is_some_and(|id| id.to_string() == exchange))
            .collect()
    }
}

async fn legacy(file: &Path) {
    use sqlx::Connection as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(LEGACY).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

fn secret(path: &Path, text: &str) {
    use std::io::Write as _;
    fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
