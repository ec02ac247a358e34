//! One exchange as two gateways record it, with real keys and both logs on disk.

use std::time::{Duration, SystemTime};

use ledger::{Appended, Config, Entry, Ledger, SealInput, Sealer};
use note::SigningKey;
use prost::Message as _;
use proto::{
    exchange::Receipt,
    link::{Actor, CallShape, ConsumerClaims, LeafOpening, ProviderClosing},
    records::{Kind, Private, Shared, Side},
};
use records::{Draft, ExchangeId, Record, half_hash, provider_shared, receipt};

use crate::support::Place;

/// The time of the exchange, in milliseconds since the Unix epoch.
pub const TIME: u64 = 1_800_000_000_000;

/// What was recorded.
pub struct Exchanged {
    pub place: Place,
    pub id: ExchangeId,
    pub receipt: Receipt,
    /// Of the call that was refused.
    pub refusal: Receipt,
}

/// Has county.example ask trust.example once, be refused once, and closes both logs.
pub fn exchanged() -> Exchanged {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(exchange())
}

async fn exchange() -> Exchanged {
    let place = Place::with_two_members();
    let key = |name: &str| SigningKey::read_file(&place.path(name)).unwrap();
    let (asker, answerer) = (key("county/keys/gateway.key"), key("trust/keys/gateway.key"));
    let consumer = open(&place, "county", "county.example/log/main", &asker);
    let provider = open(&place, "trust", "trust.example/log/main", &answerer);
    let id = ExchangeId::new(SystemTime::UNIX_EPOCH + Duration::from_millis(TIME), [7; 10]);

    let claims = claims(id).encode_to_vec();
    let seal = Sealer::new(asker).seal(receipt::CONSUMER_CLAIMS, claims.clone()).await;
    let seal = receipt::seal_to_wire(&seal);

    // The provider's side.
    let closing = ProviderClosing {
        exchange_id: id.as_bytes().to_vec().into(),
        provider: "trust.example".to_owned(),
        provider_gateway: "main".to_owned(),
        consumer_claims_digest: half_hash(&[], &claims).0.to_vec().into(),
        time: TIME + 5,
        messages: 1,
        response_digest: vec![9; 32].into(),
        ..ProviderClosing::default()
    }
    .encode_to_vec();
    let crossed = Shared {
        exchange_id: id.as_bytes().to_vec().into(),
        consumer_claims: claims.clone().into(),
        consumer_seal: Some(seal.clone()),
        provider_closing: closing.clone().into(),
        ..Shared::default()
    };
    let shared = provider_shared(Kind::Outcome, &crossed);
    let input = SealInput { tag: receipt::PROVIDER_CLOSING, claims: closing.clone() };
    let (promised, opening) = append(&provider, Draft { shared, private: private() }, Some(input)).await;

    // The consumer's side.
    let shared = Shared {
        kind: Kind::Outcome.into(),
        side: Side::Consumer.into(),
        exchange_id: id.as_bytes().to_vec().into(),
        consumer_claims: claims.into(),
        consumer_seal: Some(seal),
        provider_closing: closing.into(),
        provider_closing_seal: promised.seal.as_ref().map(receipt::seal_to_wire),
        provider_closing_leaf: Some(opening),
        messages: 1,
        ..Shared::default()
    };
    let (recorded, _) = append(&consumer, Draft { shared, private: private() }, None).await;
    let refused = refuse(&consumer).await;
    let of = |index| {
        let record = Record::open(consumer.read(index).unwrap()).unwrap();
        receipt::of(&record, "county.example/log/main").unwrap()
    };
    let (mut receipt, mut refusal) = (of(recorded.index), of(refused.index));
    cover(&consumer, receipt.consumer.as_mut().unwrap()).await;
    cover(&consumer, refusal.consumer.as_mut().unwrap()).await;
    cover(&provider, receipt.provider.as_mut().unwrap()).await;
    consumer.close().await;
    provider.close().await;
    Exchanged { place, id, receipt, refusal }
}

/// Writes a log of county.example that holds one refusal, signed with this key in the place of the gateway's. Returns its folder.
pub fn refused_by(place: &Place, key: &str) -> String {
    let folder = format!("refused-by-{}", key.replace('/', "-"));
    let key = SigningKey::read_file(&place.path(key)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let consumer = open_in(place, &format!("{folder}/ledger"), "county", "county.example/log/main", &key);
        refuse(&consumer).await;
        consumer.close().await;
    });
    folder
}

/// A refusal by the consumer's own gateway, for which nothing crossed.
async fn refuse(consumer: &Ledger) -> Appended {
    let id = ExchangeId::new(SystemTime::UNIX_EPOCH + Duration::from_millis(TIME + 60_000), [8; 10]);
    let shared = Shared {
        kind: Kind::Refusal.into(),
        side: Side::Consumer.into(),
        exchange_id: id.as_bytes().to_vec().into(),
        refusal: "WRONG_PURPOSE".to_owned(),
        status: 7,
        ..Shared::default()
    };
    let private = Private {
        time: TIME + 60_000,
        purpose: "curiosity".to_owned(),
        outcome: "refused".to_owned(),
        actor: "ho-2".to_owned(),
        ..private()
    };
    let seal = SealInput { tag: receipt::LOCAL_REFUSAL, claims: id.as_bytes().to_vec() };
    append(consumer, Draft { shared, private }, Some(seal)).await.0
}

fn claims(id: ExchangeId) -> ConsumerClaims {
    ConsumerClaims {
        exchange_id: id.as_bytes().to_vec().into(),
        consumer: "county.example".to_owned(),
        consumer_gateway: "main".to_owned(),
        consumer_system: "housing".to_owned(),
        provider: "trust.example".to_owned(),
        provider_gateway: "main".to_owned(),
        sequence: 1,
        method: "/housing.v1.Tenancies/Find".to_owned(),
        agreement: "tenancies".to_owned(),
        agreement_digest: vec![3; 32].into(),
        purpose: "allocation".to_owned(),
        legal_basis: "Housing Act 1996, part 6".to_owned(),
        actor: Some(Actor { id: "ho-1".to_owned(), role: "housing officer".to_owned() }),
        case_reference: "CASE-9".to_owned(),
        time: TIME,
        nonce: vec![5; 32].into(),
        shape: CallShape::Unary.into(),
        ..ConsumerClaims::default()
    }
}

fn private() -> Private {
    Private {
        time: TIME + 10,
        consumer: "county.example".to_owned(),
        system: "housing".to_owned(),
        provider: "trust.example".to_owned(),
        method: "/housing.v1.Tenancies/Find".to_owned(),
        purpose: "allocation".to_owned(),
        agreement: "tenancies".to_owned(),
        actor: "ho-1".to_owned(),
        actor_role: "housing officer".to_owned(),
        case_reference: "CASE-9".to_owned(),
        outcome: "answered".to_owned(),
        bytes: 120,
        duration: 8,
        ..Private::default()
    }
}

fn open(place: &Place, member: &str, origin: &str, gateway_key: &SigningKey) -> Ledger {
    open_in(place, &format!("{member}/data/ledger"), member, origin, gateway_key)
}

fn open_in(place: &Place, folder: &str, member: &str, origin: &str, gateway_key: &SigningKey) -> Ledger {
    let log_key = SigningKey::read_file(&place.path(&format!("{member}/keys/log.key"))).unwrap();
    let mut config = Config::new(place.path(folder), origin.to_owned(), log_key, gateway_key.clone());
    // Sixty-four mebibytes for two records would be most of the test's time.
    config.segment_bytes = 1024 * 1024;
    config.checkpoint_interval = Duration::from_millis(20);
    Ledger::open(config).unwrap().0
}

async fn append(ledger: &Ledger, draft: Draft, seal: Option<SealInput>) -> (Appended, LeafOpening) {
    let prepared = draft.prepare().unwrap();
    let appended = ledger.append(Entry { leaf: prepared.leaf, body: prepared.body, seal }).await.unwrap();
    let opening = LeafOpening {
        origin: appended.promise.origin.clone(),
        index: appended.index,
        leaf: appended.promise.leaf.0.to_vec().into(),
        salt: prepared.salt.to_vec().into(),
        private: prepared.leaf.private.0.to_vec().into(),
    };
    (appended, opening)
}

async fn cover(ledger: &Ledger, part: &mut proto::exchange::Disclosure) {
    let mut checkpoints = ledger.watch_checkpoints();
    let state = checkpoints.wait_for(|state| state.size > part.index).await.unwrap().clone();
    part.checkpoint = state.note.to_string();
    part.path = ledger.inclusion(part.index, state.size).unwrap().iter().map(|hash| hash.0.to_vec().into()).collect();
}
