//! Whether the address of every gateway in the directory resolves, this one's own included.

use std::{net::IpAddr, time::Duration, time::SystemTime};

use federation::{Address, Federation, GatewayId};
use futures_util::{StreamExt as _, stream};

use super::{Finding, peers::AT_ONCE};

const CHECK: &str = "names";
/// How long the name service may take for one name.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn examine(federation: &Federation, own: &GatewayId, now: SystemTime) -> Vec<Finding> {
    let gateways = federation.members().flat_map(|entry| &entry.gateways).filter(|gateway| !gateway.is_retired(now));
    let named = gateways.filter_map(|gateway| Some((&gateway.id, gateway.address.as_ref()?)));
    let named: Vec<(GatewayId, Address)> = named
        .filter(|(_, address)| address.host().parse::<IpAddr>().is_err())
        .map(|(id, address)| (id.clone(), address.clone()))
        .collect();
    stream::iter(named)
        .map(|(gateway, address)| async move { look_up(&gateway, &address, gateway == *own).await })
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn look_up(gateway: &GatewayId, address: &Address, own: bool) -> Finding {
    let place = format!("{gateway} ({address})");
    let looked = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((address.host(), address.port()))).await;
    let why = match looked {
        Ok(Ok(found)) => {
            let mut addresses: Vec<String> = found.map(|address| address.ip().to_string()).collect();
            addresses.dedup();
            if !addresses.is_empty() {
                return Finding::fine(CHECK, place, format!("resolves to {}", addresses.join(", ")));
            }
            "the name service knows no address".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the name service did not answer within 5 s".to_owned(),
    };
    let what = format!("the name does not resolve: {why}");
    if own {
        let cure = "add the name to the name service, or sign an entry with another address: others dial this one";
        return Finding::warning(CHECK, place, what, cure);
    }
    let cure = format!(
        "look at this machine's name service (`getent hosts {}`); if that is right, ask `{}` which address is",
        address.host(),
        gateway.member()
    );
    Finding::warning(CHECK, place, what, cure)
}
