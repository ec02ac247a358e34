//! The bindings fit their contracts, and the legacy systems answer through them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use connectors::{Ask, BindingConfig, Bindings, ConnectorError, DatabaseConfig, Setup};
use contract::Contracts;
use drawbridge_demo::{legacy, members};
use futures_util::{StreamExt, stream::BoxStream};
use serde::Deserialize;
use serde_json::{Value, json};

/// The tables of a configuration that bindings are made of.
#[derive(Deserialize)]
struct Configuration {
    database: BTreeMap<String, DatabaseConfig>,
    binding: Vec<BindingConfig>,
}

/// A legacy system behind its bindings.
struct Legacy {
    contracts: Contracts,
    bindings: Bindings,
    _folder: tempfile::TempDir,
}

impl Legacy {
    async fn of(member: &str) -> Legacy {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("legacy.db");
        match member {
            "trust" => legacy::trust(&file).await.unwrap(),
            "police" => legacy::police(&file).await.unwrap(),
            _ => legacy::council(&file).await.unwrap(),
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("members").join(member).join("gateway.toml");
        let configuration: Configuration = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let contracts = members::contracts().unwrap();
        let setup = Setup {
            bindings: &configuration.binding,
            databases: &configuration.database,
            contracts: &contracts,
            folder: folder.path(),
        };
        let bindings = Bindings::prepare(setup).await.unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert_eq!(bindings.len(), configuration.binding.len());
        Legacy { contracts, bindings, _folder: folder }
    }

    async fn ask(&self, method: &str, request: &Value) -> Result<Vec<Value>, ConnectorError> {
        self.ask_within(method, request, None).await
    }

    async fn ask_within(
        &self,
        method: &str,
        request: &Value,
        limit: Option<Duration>,
    ) -> Result<Vec<Value>, ConnectorError> {
        let mut messages = self.stream(method, request, limit).await?;
        let method = self.contracts.method(method).unwrap();
        let mut answers = Vec::new();
        while let Some(message) = messages.next().await {
            let message = message?;
            method.check_answer(&message).unwrap();
            answers.push(serde_json::from_str(&method.answer_to_json(&message).unwrap()).unwrap());
        }
        Ok(answers)
    }

    async fn stream(
        &self,
        method: &str,
        request: &Value,
        limit: Option<Duration>,
    ) -> Result<BoxStream<'static, Result<Bytes, ConnectorError>>, ConnectorError> {
        let method = self.contracts.method(method).unwrap().clone();
        let request = method.request_from_json(&request.to_string()).unwrap();
        method.check_request(&request).unwrap();
        let connector = self.bindings.get(method.path()).unwrap().connector().clone();
        let deadline = limit.map(|limit| Instant::now() + limit);
        let ask = Ask {
            method,
            request: Bytes::from(request),
            requests: None,
            deadline,
            metadata: Vec::new(),
            command: None,
            listener: None,
            asker: connectors::Asker::default(),
            stalled: None,
        };
        Ok(connector.answer(ask).await?.messages)
    }

    /// Asks and expects an answer.
    async fn answers(&self, method: &str, request: Value) -> Vec<Value> {
        self.ask(method, &request).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }
}

#[tokio::test]
async fn the_hospital_system_answers_who_a_patient_is() {
    let trust = Legacy::of("trust").await;
    let answers = trust.answers("/health.v1.Patients/Find", json!({ "nhsNumber": "9990000018" })).await;
    assert_eq!(
        answers,
        [json!({
            "nhsNumber": "9990000018",
            "name": { "given": "Maynard46", "family": "Mosciski958" },
            "birthDate": "2014-10-06",
            "sex": "SEX_MALE",
            "address": {
                "street": "784 Stamm Lock Unit 46",
                "town": "Somerville",
                "county": "Middlesex County",
                "postcode": "02155",
            },
            "ethnicity": "ETHNICITY_WHITE",
            "hospitalNumber": "100001",
        })]
    );
    let nobody = trust.ask("/health.v1.Patients/Find", &json!({ "nhsNumber": "9434765919" })).await;
    assert!(matches!(nobody, Err(ConnectorError::NotFound)), "{nobody:?}");
}

#[tokio::test]
async fn blanks_for_none_are_no_date() {
    let trust = Legacy::of("trust").await;
    let mut dead = 0;
    for encounter in trust.answers("/health.v1.Encounters/List", json!({})).await {
        let request = json!({ "nhsNumber": encounter["nhsNumber"] });
        let patient = trust.answers("/health.v1.Patients/Find", request).await.remove(0);
        if let Some(date) = patient.get("deathDate") {
            dead += 1;
            assert!(["1976-07-25", "2004-03-21"].contains(&date.as_str().unwrap()), "{date}");
        }
    }
    assert_eq!(dead, 6 + 19);
}

#[tokio::test]
async fn the_hospital_system_streams_encounters_of_all_or_of_one() {
    let trust = Legacy::of("trust").await;
    let all = trust.answers("/health.v1.Encounters/List", json!({})).await;
    assert_eq!(all.len(), 604);
    assert_eq!(
        all[0],
        json!({
            "number": "5000001",
            "nhsNumber": "9990000018",
            "class": "ENCOUNTER_CLASS_AMBULATORY",
            "start": "2023-01-27T16:17:47Z",
            "end": "2023-01-27T16:32:47Z",
            "type": { "code": "185345009", "display": "Encounter for symptom" },
            "reason": { "code": "195662009", "display": "Acute viral pharyngitis (disorder)" },
        })
    );
    assert_eq!(all[1].get("reason"), None);
    let one = trust.answers("/health.v1.Encounters/List", json!({ "nhsNumber": "9990000018" })).await;
    assert_eq!(one, all[..2]);
}

#[tokio::test]
async fn conditions_and_observations_come_in_the_order_of_their_dates() {
    let trust = Legacy::of("trust").await;
    let mut conditions = 0;
    let mut observations = 0;
    for position in 0..27 {
        let request = json!({ "nhsNumber": drawbridge_demo::nhs::TestNumber::nth(position).to_string() });
        let found = trust.answers("/health.v1.Encounters/Conditions", request.clone()).await;
        assert!(found.is_sorted_by_key(|condition| condition["onsetDate"].as_str().unwrap().to_owned()));
        for condition in &found {
            // `active` is left out of JSON when it is false.
            assert_eq!(condition.get("active").is_some(), condition.get("abatementDate").is_none(), "{condition}");
        }
        conditions += found.len();
        let found = trust.answers("/health.v1.Encounters/Observations", request).await;
        for observation in &found {
            assert!(observation.get("quantity").is_some() != observation.get("answer").is_some(), "{observation}");
        }
        observations += found.len();
    }
    assert_eq!((conditions, observations), (438, 990));
}

#[tokio::test]
async fn a_measured_value_keeps_its_digits_and_its_unit() {
    let trust = Legacy::of("trust").await;
    let request = json!({ "nhsNumber": "9990000018" });
    let all = trust.answers("/health.v1.Encounters/Observations", request).await;
    let height = all.iter().find(|observation| observation["coding"]["code"] == "8302-2").unwrap();
    assert_eq!(height["coding"]["display"], "Body Height");
    assert_eq!(height["quantity"], json!({ "value": "127.9", "unit": "cm" }));
    assert_eq!(height["category"], "Vital signs");
    assert_eq!(height["time"], "2023-10-10T04:17:47Z");
}

#[tokio::test]
async fn comparing_gives_every_encounter_beside_every_other_one() {
    let trust = Legacy::of("trust").await;
    let mut pairs = trust.stream("/health.v1.Encounters/Compare", &json!({}), None).await.unwrap();
    let method = trust.contracts.method("/health.v1.Encounters/Compare").unwrap();
    let first = method.answer_to_json(&pairs.next().await.unwrap().unwrap()).unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&first["first"], &first["second"]), (&json!("5000001"), &json!("5000002")));
    assert_eq!(first["samePatient"], true);
    let mut rows = 1;
    while let Some(pair) = pairs.next().await {
        pair.unwrap();
        rows += 1;
    }
    assert_eq!(rows, 604 * 603);
}

#[tokio::test]
async fn the_slow_statement_ends_with_its_deadline() {
    let trust = Legacy::of("trust").await;
    let started = Instant::now();
    let late = trust
        .ask_within("/health.v1.Encounters/CountClusters", &json!({ "days": 3 }), Some(Duration::from_millis(300)))
        .await;
    assert!(matches!(late, Err(ConnectorError::Timeout)), "{late:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_police_gazetteer_answers_with_padding_and_entities_taken_off() {
    let police = Legacy::of("police").await;
    let request = json!({ "force": "avon-and-somerset", "code": "AE016" });
    assert_eq!(
        police.answers("/police.v1.Neighbourhoods/Find", request).await,
        [json!({
            "force": { "slug": "avon-and-somerset", "name": "Avon and Somerset Constabulary" },
            "code": "AE016",
            "name": "Frome Town",
            "url": "https://data.police.uk/api/avon-and-somerset/AE016",
        })]
    );
    let all = police.answers("/police.v1.Neighbourhoods/List", json!({})).await;
    assert_eq!(all.len(), 4581);
    assert!(all.iter().all(|neighbourhood| !neighbourhood["name"].as_str().unwrap().contains("&amp;")));
    assert_eq!(all.iter().filter_map(|neighbourhood| neighbourhood["stations"].as_u64()).sum::<u64>(), 2248);
    let one = police.answers("/police.v1.Neighbourhoods/List", json!({ "force": "kent" })).await;
    assert_eq!(one.len(), 308);
}

#[tokio::test]
async fn only_surveyed_stations_have_a_position() {
    let police = Legacy::of("police").await;
    let all = police.answers("/police.v1.Stations/List", json!({})).await;
    assert_eq!(all.len(), 2248);
    assert_eq!(all.iter().filter(|station| station.get("position").is_some()).count(), 1284);
    let request = json!({ "force": "cheshire", "neighbourhood": "LP0001" });
    let station = police.answers("/police.v1.Stations/List", request).await.remove(0);
    assert_eq!(station["position"], json!({ "latitude": 53.1917, "longitude": -2.89274 }));
    assert_eq!(station["name"], "Chester Town Hall Police Station");
}

#[tokio::test]
async fn the_council_gazetteer_answers_who_an_authority_is() {
    let council = Legacy::of("council").await;
    assert_eq!(
        council.answers("/council.v1.Authorities/Find", json!({ "code": "KEN" })).await,
        [json!({
            "code": "KEN",
            "officialName": "Kent County Council",
            "name": "Kent",
            "gssCode": "E10000016",
            "nation": "NATION_ENGLAND",
            "region": "South East",
            "type": "AUTHORITY_TYPE_COUNTY",
            "current": true,
            "population": 1_589_057,
            "area": 3544,
            "centre": { "latitude": 51.515_402_964_032_36, "longitude": 0.094_392_569_450_849_1 },
        })]
    );
}

#[tokio::test]
async fn successors_and_dates_of_former_authorities_are_told() {
    let council = Legacy::of("council").await;
    let all = council.answers("/council.v1.Authorities/List", json!({ "former": true })).await;
    assert_eq!(all.len(), 470);
    let two: Vec<_> =
        all.iter().filter(|authority| authority["successors"].as_array().is_some_and(|s| s.len() == 2)).collect();
    assert_eq!(two.len(), 2);
    for authority in two {
        assert!(authority.get("endDate").is_some() && authority.get("current").is_none(), "{authority}");
    }
    assert_eq!(council.answers("/council.v1.Authorities/List", json!({})).await.len(), 397);
    let welsh = council.answers("/council.v1.Authorities/List", json!({ "nation": "NATION_WALES" })).await;
    assert_eq!(welsh.len(), 22);
}

#[tokio::test]
async fn an_authority_is_found_by_any_of_its_names() {
    let council = Legacy::of("council").await;
    let kent = json!({ "code": "KEN", "officialName": "Kent County Council", "current": true });
    for name in ["Kent County Council", "KENT COUNTY COUNCIL", "kent"] {
        let found = council.answers("/council.v1.Authorities/Match", json!({ "name": name })).await;
        assert_eq!(found, [json!({ "matches": [kent] })], "{name}");
    }
    let nobody = council.answers("/council.v1.Authorities/Match", json!({ "name": "Atlantis" })).await;
    assert_eq!(nobody, [json!({})]);
}

#[tokio::test]
async fn codes_of_other_agencies_lead_to_the_register() {
    let council = Legacy::of("council").await;
    let all = council.answers("/council.v1.Authorities/Codes", json!({})).await;
    assert_eq!(all.len(), 445 + 433 + 354 + 207 + 406 + 207 + 217 + 408 + 175);
    let kent = council.answers("/council.v1.Authorities/Codes", json!({ "authority": "KEN" })).await;
    let codes: Vec<_> =
        kent.iter().map(|code| (code["list"]["code"].as_str().unwrap(), code["code"].as_str().unwrap())).collect();
    assert!(codes.contains(&("GSS", "E10000016")) && codes.contains(&("ISO", "GB-KEN")), "{codes:?}");
}
