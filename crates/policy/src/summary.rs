//! An agreement as a person reads it: who may ask what, for which purpose, and which fields they get.

use std::fmt;
use std::time::SystemTime;

use contract::{Contracts, Digest, Kind, Projection, Selector};
use federation::MemberId;

use crate::agreement::Agreement;
use crate::end::End;
use crate::file::{AgreementFile, Signatures, State};
use crate::grant::{Grant, Limits, MetadataKey};
use crate::standing::{ContractState, Hindrance, Served, Standing, Told};
use crate::time::shown;

/// What an agreement says, with the state it is in. `Display` writes it for people.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The id.
    pub id: String,
    /// The digest of the text.
    pub digest: Digest,
    /// Who asks.
    pub consumer: MemberId,
    /// Who answers.
    pub provider: MemberId,
    /// Who has signed.
    pub signatures: Signatures,
    /// What it is now.
    pub state: State,
    /// When that was looked at.
    pub now: SystemTime,
    /// How much of it the loaded contracts let a gateway serve.
    pub served: Served,
    /// From when it is in force.
    pub valid_from: SystemTime,
    /// Until when it is in force.
    pub valid_until: SystemTime,
    /// The day of the review, `2027-08-01`.
    pub review_on: String,
    /// How long records are kept, `6 years`.
    pub retention: String,
    /// Purposes: name, legal basis and description, sorted by name.
    pub purposes: Vec<(String, String, Option<String>)>,
    /// The grants, in the order of the text.
    pub grants: Vec<GrantSummary>,
}

/// What one grant says.
#[derive(Clone, Debug)]
pub struct GrantSummary {
    /// The full name of the service.
    pub service: String,
    /// The contract that was agreed on.
    pub digest: Digest,
    /// Whether the loaded contract is that one.
    pub contract: ContractState,
    /// Why the grant permits nothing, where that is so.
    pub hindrance: Option<Hindrance>,
    /// Names of the consumer's systems, sorted.
    pub systems: Vec<String>,
    /// Names of purposes.
    pub purposes: Vec<String>,
    /// Metadata that must come with a call.
    pub requires: Vec<MetadataKey>,
    /// How much may be asked.
    pub limits: Limits,
    /// The fields as the agreement names them: paths, classifications, or `all fields`.
    pub fields: Vec<String>,
    /// The methods, in the order of the text.
    pub methods: Vec<MethodSummary>,
}

/// What a grant means for one method. The lists are empty while the contract is not at hand.
#[derive(Clone, Debug)]
pub struct MethodSummary {
    /// The name.
    pub name: String,
    /// What it does, where contract or agreement say it.
    pub kind: Option<Kind>,
    /// Paths of the fields that leave the provider, sorted.
    pub released: Vec<String>,
    /// Paths of the fields that do not, sorted.
    pub withheld: Vec<String>,
}

impl Summary {
    /// Sums up an agreement. `signatures` are what [`AgreementFile::signatures`] found, `ends` the verified end notes at hand.
    #[must_use]
    pub fn of(
        file: &AgreementFile,
        signatures: Signatures,
        ends: &[End],
        contracts: &Contracts,
        now: SystemTime,
    ) -> Summary {
        let agreement: &Agreement = file.agreement();
        let purposes = agreement.purposes().iter();
        let standings = Standing::of(file.agreement(), contracts);
        let served = Served::of(&standings);
        let grants = agreement.grants().iter().zip(standings);
        Summary {
            id: agreement.id().to_owned(),
            digest: agreement.digest(),
            consumer: agreement.consumer().clone(),
            provider: agreement.provider().clone(),
            signatures,
            state: file.state(signatures, ends, now),
            now,
            served,
            valid_from: agreement.valid_from(),
            valid_until: agreement.valid_until(),
            review_on: agreement.review_on().to_string(),
            retention: agreement.retention().to_string(),
            purposes: purposes
                .map(|(name, purpose)| (name.to_string(), purpose.legal_basis.to_string(), purpose.description.clone()))
                .collect(),
            grants: grants.map(|(grant, standing)| GrantSummary::of(grant, standing, contracts)).collect(),
        }
    }
}

impl GrantSummary {
    fn of(grant: &Grant, standing: Standing, contracts: &Contracts) -> GrantSummary {
        let service = contracts.service(&grant.service);
        let agreed = service.and_then(|service| contracts.agreed(service, &grant.digest).ok());
        let methods = grant.methods.iter().map(|name| {
            let method =
                agreed.and_then(|service| service.methods.iter().find(|method| method.name() == name.as_ref()));
            let projection = method.and_then(|method| Projection::compile(method.output(), &grant.fields).ok());
            MethodSummary {
                name: name.to_string(),
                kind: method.and_then(|method| method.kind()).or(grant.kind),
                released: projection.as_ref().map(|projection| projection.released().to_vec()).unwrap_or_default(),
                withheld: projection.as_ref().map(|projection| projection.withheld().to_vec()).unwrap_or_default(),
            }
        });
        GrantSummary {
            service: grant.service.to_string(),
            digest: grant.digest,
            contract: standing.contract,
            hindrance: standing.hindrance,
            systems: grant.systems.iter().map(|system| system.name().to_owned()).collect(),
            purposes: grant.purposes.iter().map(ToString::to_string).collect(),
            requires: grant.required.keys().collect(),
            limits: grant.limits,
            fields: match &grant.fields {
                Selector::Paths(paths) => paths.clone(),
                Selector::Classifications(classes) => {
                    classes.iter().map(|class| format!("all {class} fields")).collect()
                }
                Selector::All => vec!["all fields".to_owned()],
            },
            methods: methods.collect(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = |yes: bool| if yes { "signed" } else { "not signed" };
        writeln!(f, "agreement {}", self.id)?;
        let told = Told { state: &self.state, served: self.served, now: self.now };
        writeln!(f, "  state        {told}")?;
        writeln!(f, "  consumer     {}, {}", self.consumer, signed(self.signatures.consumer))?;
        writeln!(f, "  provider     {}, {}", self.provider, signed(self.signatures.provider))?;
        writeln!(f, "  in force     {} until {}", shown(self.valid_from), shown(self.valid_until))?;
        writeln!(f, "  review       {}", self.review_on)?;
        writeln!(f, "  retention    {}", self.retention)?;
        writeln!(f, "  digest       {}", self.digest)?;
        for (name, legal_basis, description) in &self.purposes {
            writeln!(f, "\npurpose {name}")?;
            writeln!(f, "  legal basis  {legal_basis}")?;
            if let Some(description) = description {
                writeln!(f, "  description  {description}")?;
            }
        }
        for grant in &self.grants {
            writeln!(f)?;
            grant.write(f, &self.consumer)?;
        }
        Ok(())
    }
}

impl GrantSummary {
    fn write(&self, f: &mut fmt::Formatter<'_>, consumer: &MemberId) -> fmt::Result {
        let systems = self.systems.iter().map(|system| format!("{consumer}/{system}"));
        writeln!(f, "{} may ask {}", systems.collect::<Vec<_>>().join(" and "), self.service)?;
        writeln!(f, "  for          {}", self.purposes.join(", "))?;
        match self.contract {
            ContractState::Same => writeln!(f, "  contract     {}", self.digest)?,
            ContractState::Later { loaded } => {
                writeln!(f, "  contract     {}; {loaded} is loaded, and compatible", self.digest)?;
            }
            ContractState::Different { loaded } => {
                writeln!(f, "  contract     {}, but {loaded} is loaded", self.digest)?;
            }
            ContractState::NotLoaded => {
                writeln!(f, "  contract     {}, which is not loaded", self.digest)?;
            }
        }
        if let Some(Hindrance { what, help }) = &self.hindrance {
            writeln!(f, "  NOT SERVED   {what}")?;
            writeln!(f, "  help         {help}")?;
        }
        if !self.requires.is_empty() {
            let keys: Vec<String> = self.requires.iter().map(ToString::to_string).collect();
            writeln!(f, "  with         {}", keys.join(", "))?;
        }
        if self.limits != Limits::default() {
            writeln!(f, "  at most      {}", self.limits)?;
        }
        if matches!(self.contract, ContractState::Different { .. } | ContractState::NotLoaded) {
            writeln!(f, "  fields       {}", self.fields.join(", "))?;
        }
        for method in &self.methods {
            let kind = method.kind.map_or_else(String::new, |kind| format!(", a {kind}"));
            writeln!(f, "  {}{kind}", method.name)?;
            wrapped(f, "released", &method.released)?;
            wrapped(f, "withheld", &method.withheld)?;
        }
        Ok(())
    }
}

/// Writes a list of words in lines of about 100 columns, the further ones under the first.
fn wrapped(f: &mut fmt::Formatter<'_>, name: &str, words: &[String]) -> fmt::Result {
    const COLUMNS: usize = 100;
    let mut line = format!("    {name:<11}");
    let mut empty = true;
    for (place, word) in words.iter().enumerate() {
        if !empty && line.chars().count().saturating_add(word.chars().count()) >= COLUMNS {
            writeln!(f, "{}", line.trim_end())?;
            line = " ".repeat(15);
        }
        empty = false;
        line.push_str(word);
        if place.saturating_add(1) < words.len() {
            line.push_str(", ");
        }
    }
    if empty {
        return Ok(());
    }
    writeln!(f, "{line}")
}

#[cfg(test)]
mod tests;
