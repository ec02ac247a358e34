//! The services of the gateway's own on the clients' port: health, reflection, receipts.
//!
//! Reflection shows a system the contracts that it may use, in the version that was agreed on, and no other.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use contract::{Agreed, Contracts};
use exchange::{House, Rules};
use federation::{GatewayId, SystemId};
use http::{Request, Response};
use proto::{
    exchange::{
        Disclosure, GetReceiptRequest, GetReceiptResponse, Receipt,
        receipts_server::{Receipts, ReceiptsServer},
    },
    link::{ConsumerClaims, ProveRequest, ProveResponse},
};
use records::{ExchangeId, Record, Side, receipt};
use tonic::{Status, service::Routes};
use tower::ServiceExt as _;

use crate::ports::{LinkPeers, PROVE};

/// How long a receipt waits for checkpoints.
const RECEIPT_PATIENCE: Duration = Duration::from_secs(2);
/// Sets of versions of services whose reflection is kept ready.
const MAX_REFLECTIONS: usize = 64;

/// The services of one runtime.
#[derive(Clone)]
pub(crate) struct Services {
    house: Arc<House>,
    peers: LinkPeers,
    health: Routes,
    reflections: Arc<Mutex<Reflections>>,
}

/// Paths of gRPC's own services that a gateway serves.
const HEALTH: &str = "/grpc.health.";
const REFLECTION: &str = "/grpc.reflection.";
/// Paths of what is Drawbridge's own.
const OURS: &str = "/drawbridge.";

/// Reflection by what was agreed on, for the contracts that it was made from.
#[derive(Default)]
struct Reflections {
    /// Weak: rules that have been replaced let go of their legacy systems.
    rules: Weak<Rules>,
    ready: HashMap<Agreed, Routes>,
}

impl Services {
    pub(crate) fn new(house: Arc<House>, peers: LinkPeers, health: Routes) -> Self {
        Self { house, peers, health, reflections: Arc::default() }
    }

    /// Returns whether a path is one of these services' rather than a contract's.
    pub(crate) fn serve(path: &str) -> bool {
        [HEALTH, REFLECTION, OURS].iter().any(|prefix| path.starts_with(prefix))
    }

    /// Answers a request of `system`.
    pub(crate) async fn call(
        &self,
        system: SystemId,
        request: Request<tonic::body::Body>,
    ) -> Response<tonic::body::Body> {
        let path = request.uri().path();
        let routes = if path.starts_with(HEALTH) {
            self.health.clone()
        } else if path.starts_with(REFLECTION) {
            match self.reflection(&system) {
                Ok(routes) => routes,
                Err(status) => return status.into_http(),
            }
        } else if path.starts_with("/drawbridge.exchange.v1.Receipts/") {
            let receipts = ReceiptDesk { house: self.house.clone(), peers: self.peers.clone(), system };
            Routes::new(ReceiptsServer::new(receipts))
        } else {
            return Status::unimplemented("this gateway has no such service").into_http();
        };
        match routes.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    fn reflection(&self, system: &SystemId) -> Result<Routes, Status> {
        let rules = self.house.rules.load_full();
        let agreed = rules.agreements.usable_services(system, (self.house.clock)());
        let mut reflections = self.reflections.lock().unwrap_or_else(PoisonError::into_inner);
        let known = Arc::downgrade(&rules);
        if !reflections.rules.ptr_eq(&known) || reflections.ready.len() >= MAX_REFLECTIONS {
            *reflections = Reflections { rules: known, ready: HashMap::new() };
        }
        if let Some(routes) = reflections.ready.get(&agreed) {
            return Ok(routes.clone());
        }
        let services = agreed.keys().cloned().collect();
        let routes = reflection_of(&rules.contracts.shown(&agreed).contracts, &services)
            .map_err(|error| Status::internal(format!("reflection is not available: {error}")))?;
        reflections.ready.insert(agreed, routes.clone());
        Ok(routes)
    }
}

fn reflection_of(
    contracts: &Contracts,
    services: &BTreeSet<String>,
) -> Result<Routes, tonic_reflection::server::Error> {
    // Put together from the files' own bytes, so that the contract's options stay: field 1 of a FileDescriptorSet, repeated.
    let mut set = Vec::new();
    for (_, file) in contracts.encoded_files(services) {
        prost::encoding::bytes::encode(1, &file, &mut set);
    }
    let builder = || {
        let mut builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(&set)
            .with_service_name("drawbridge.exchange.v1.Receipts");
        for service in services {
            builder = builder.with_service_name(service);
        }
        builder
    };
    Ok(Routes::new(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}

/// Gives receipts to one system.
#[derive(Clone)]
struct ReceiptDesk {
    house: Arc<House>,
    peers: LinkPeers,
    system: SystemId,
}

#[tonic::async_trait]
impl Receipts for ReceiptDesk {
    async fn get(
        &self,
        request: tonic::Request<GetReceiptRequest>,
    ) -> Result<tonic::Response<GetReceiptResponse>, Status> {
        let id: ExchangeId = request
            .into_inner()
            .exchange_id
            .parse()
            .map_err(|e: records::NotAnExchangeId| Status::invalid_argument(e.to_string()))?;
        let record = self.find(id).await?;
        let mut receipt =
            receipt::of(&record, &self.origin()).ok_or_else(|| Status::data_loss("the record cannot be read"))?;
        let (withheld, released) = self.lists(&record);
        let own = self.cover_own(receipt.consumer.as_mut(), &record);
        let (own, providers) = tokio::join!(own, self.cover_providers(&record, receipt.provider.clone()));
        let complete = own? && providers.as_ref().is_none_or(|p| !p.checkpoint.is_empty());
        receipt.provider = providers;
        Ok(tonic::Response::new(GetReceiptResponse { receipt: Some(receipt), withheld, released, complete }))
    }
}

impl ReceiptDesk {
    fn origin(&self) -> String {
        let gateway = &self.house.gateway;
        format!("{}/log/{}", gateway.member(), gateway.name())
    }

    async fn find(&self, id: ExchangeId) -> Result<Record, Status> {
        let records = self.house.records.clone();
        let found = tokio::task::spawn_blocking(move || records.find(id, Side::Consumer)).await;
        let found = found.map_err(|_| Status::internal("the log cannot be read"))?.map_err(|error| {
            tracing::error!(error = %crate::load::chain(&error), "the log cannot be read");
            Status::internal("the log cannot be read")
        })?;
        let own = |record: &Record| record.opened.as_ref().is_some_and(|o| o.private.system == self.system.name());
        let record = found.map(|f| f.record).filter(own);
        record.ok_or_else(|| Status::not_found("this system has made no such exchange through this gateway"))
    }

    /// The lists follow from contract and agreement alone.
    fn lists(&self, record: &Record) -> (Vec<String>, Vec<String>) {
        let rules = self.house.rules.load();
        let Some(claims) = record.opened.as_ref().and_then(|o| o.claims.as_ref()) else { return (vec![], vec![]) };
        let digest = <[u8; 32]>::try_from(claims.agreement_digest.as_ref()).map(contract::Digest);
        let (Ok(digest), Ok(provider)) = (digest, claims.provider.parse()) else { return (vec![], vec![]) };
        let ask = policy::Ask {
            consumer: self.system.member(),
            system: &self.system,
            provider: &provider,
            method: &claims.method,
            purpose: &claims.purpose,
            has_actor: true,
            has_case: true,
            has_justification: true,
        };
        // Whether the agreement is in force does not matter: one that has ended still says what it withheld.
        match rules.agreements.plan_of(&ask, &digest) {
            Some(plan) => (plan.projection.withheld().to_vec(), plan.projection.released().to_vec()),
            None => (vec![], vec![]),
        }
    }

    async fn cover_own(&self, part: Option<&mut Disclosure>, record: &Record) -> Result<bool, Status> {
        let Some(part) = part else { return Ok(false) };
        let ledger = self.house.records.ledger().clone();
        let mut checkpoints = ledger.watch_checkpoints();
        let covered =
            tokio::time::timeout(RECEIPT_PATIENCE, checkpoints.wait_for(|state| state.size > record.index)).await;
        let Ok(Ok(state)) = covered.map(|r| r.map(|s| s.clone())) else { return Ok(false) };
        let index = record.index;
        let path =
            tokio::task::spawn_blocking(move || ledger.inclusion(index, state.size).map(|path| (path, state.note)))
                .await;
        let (path, note) = path.map_err(|_| Status::internal("the log cannot be read"))?.map_err(|error| {
            tracing::error!(%error, "the log cannot be read");
            Status::internal("the log cannot be read")
        })?;
        part.checkpoint = note.to_string();
        part.path = path.iter().map(|h| h.0.to_vec().into()).collect();
        Ok(true)
    }

    /// Asks the provider's gateway to prove what it promised, until it can or the patience ends.
    async fn cover_providers(&self, record: &Record, part: Option<Disclosure>) -> Option<Disclosure> {
        let mut part = part?;
        let claims = record
            .opened
            .as_ref()
            .and_then(|o| o.claims.clone())
            .map(|c: ConsumerClaims| format!("{}/{}", c.provider, c.provider_gateway));
        let gateway: GatewayId = claims?.parse().ok()?;
        let ask = async {
            loop {
                let request = ProveRequest { indexes: vec![part.index], ..ProveRequest::default() };
                let response: ProveResponse = self.peers.control(&gateway, PROVE, request).await.ok()?;
                if let Some(inclusion) = response.inclusions.into_iter().find(|i| i.index == part.index) {
                    return Some((response.checkpoint, inclusion.path));
                }
                // The provider's next checkpoint is at most a second away.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        if let Ok(Some((checkpoint, path))) = tokio::time::timeout(RECEIPT_PATIENCE, ask).await {
            (part.checkpoint, part.path) = (checkpoint, path);
            let whole = Receipt { provider: Some(part.clone()), ..receipt::of(record, &self.origin())? };
            if receipt::verify(&whole, &self.house.rules.load().federation).is_err() {
                // What does not verify is not handed on as proof; the promise is checked on its own and raises the alarm.
                (part.checkpoint, part.path) = (String::new(), Vec::new());
            }
        }
        Some(part)
    }
}

/// Returns the routes of the health service and what sets its state.
pub(crate) async fn health() -> (tonic_health::server::HealthReporter, Routes) {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    (reporter, Routes::new(service))
}
