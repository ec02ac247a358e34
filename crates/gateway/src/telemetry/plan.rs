//! From `[telemetry]` to a plan that can be followed: every problem of it at once.

use std::{path::Path, sync::Arc, time::Duration};

use exchange::Sampling;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, uri::Scheme};
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use problem::Problem;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};

use super::config::{OtlpProtocol, TelemetryConfig};
use crate::config::ConfigFile;

/// Ports of collectors, where the endpoint names none.
const GRPC_PORT: u16 = 4317;
const HTTP_PORT: u16 = 4318;
/// Most that waits to be exported, in exchanges: some 4 KiB each.
const MAX_QUEUE: usize = 1_000_000;

/// How telemetry is exported.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) target: Target,
    pub(super) protocol: OtlpProtocol,
    pub(super) headers: HeaderMap,
    pub(super) interval: Duration,
    pub(super) queue: usize,
    pub(super) attributes: Vec<KeyValue>,
    sampling: Sampling,
    plaintext: bool,
}

/// Where the collector is.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The endpoint as it was configured, without a slash at its end.
    pub(super) endpoint: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// None for plain text.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Plan {
    /// Reads the plan of a configuration; none where no endpoint is set.
    ///
    /// # Errors
    ///
    /// Every problem of the table and of the files that it names.
    pub fn load(file: &ConfigFile) -> Result<Option<Self>, Vec<Problem>> {
        let config = &file.config.telemetry;
        let mut problems = Vec::new();
        if !(0.0..=1.0).contains(&config.sample) {
            let what = format!("`{}` is not a share", config.sample);
            problems.push(file.toml.problem("telemetry.sample", what).help("set it from 0.0 (none) to 1.0 (all)"));
        }
        if config.queue == 0 || config.queue > MAX_QUEUE {
            let what = format!("a queue of {} exchanges cannot be", config.queue);
            problems.push(file.toml.problem("telemetry.queue", what).help(format!("set it from 1 to {MAX_QUEUE}")));
        }
        if config.interval.duration() < Duration::from_secs(1) {
            let what = "metrics cannot be exported more often than each second";
            problems.push(
                file.toml.problem("telemetry.interval", what).help("set it to \"60s\", or what the collector expects"),
            );
        }
        let headers = config.headers.as_ref().map_or_else(|| Ok(HeaderMap::new()), |path| headers(file, path));
        let headers = headers.map_err(|problem| problems.push(problem)).ok();
        let target = config.endpoint.as_ref().map(|endpoint| target(file, config, endpoint)).transpose();
        let target = target.map_err(|problem| problems.push(problem)).ok().flatten();
        match (target, headers) {
            _ if !problems.is_empty() => Err(problems),
            (Some(target), Some(headers)) => Ok(Some(Self {
                plaintext: target.tls.is_none() && !is_loopback(&target.host),
                target,
                protocol: config.protocol,
                headers,
                interval: config.interval.duration(),
                queue: config.queue,
                attributes: config.resource.iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone())).collect(),
                sampling: Sampling::Share(config.sample),
            })),
            _ => Ok(None),
        }
    }

    /// Returns which exchanges are traced.
    pub(crate) fn sampling(&self) -> Sampling {
        self.sampling
    }

    /// Returns whether telemetry crosses a network in plain text.
    pub(crate) fn plaintext(&self) -> bool {
        self.plaintext
    }

    /// Returns the endpoint, for people.
    pub(crate) fn endpoint(&self) -> &str {
        &self.target.endpoint
    }

    /// Returns what exports, as OpenTelemetry's conventions name it.
    pub(crate) fn resource(&self, gateway: &federation::GatewayId) -> Resource {
        Resource::builder_empty()
            .with_attributes(self.attributes.iter().cloned())
            .with_attributes([
                KeyValue::new("service.name", "drawbridge"),
                KeyValue::new("service.namespace", gateway.member().to_string()),
                KeyValue::new("service.instance.id", gateway.to_string()),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build()
    }
}

fn target(file: &ConfigFile, config: &TelemetryConfig, endpoint: &str) -> Result<Target, Problem> {
    let key = "telemetry.endpoint";
    let wrong = |what: String| file.toml.problem(key, what).help("write it as in \"https://collector.example:4317\"");
    // The text of the URL is in no message: it may hold a secret.
    let uri: Uri = endpoint.parse().map_err(|_| wrong("the endpoint is not a URL".to_owned()))?;
    let (Some(scheme), Some(host), Some(authority)) = (uri.scheme(), uri.host(), uri.authority()) else {
        return Err(wrong("the endpoint does not name a scheme and a host".to_owned()));
    };
    if authority.as_str().contains('@') || uri.query().is_some() {
        let what = "the endpoint holds more than scheme, host, port and path";
        return Err(file.toml.problem(key, what).help(
            "what opens the collector belongs in the file that `telemetry.headers` names, as in `authorization: Bearer …`",
        ));
    }
    if config.protocol == OtlpProtocol::Grpc && !matches!(uri.path(), "" | "/") {
        return Err(wrong("a collector that speaks gRPC has no path".to_owned()));
    }
    let port = if config.protocol == OtlpProtocol::Grpc { GRPC_PORT } else { HTTP_PORT };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let tls = if *scheme == Scheme::HTTPS {
        let name = ServerName::try_from(host.clone())
            .map_err(|_| wrong(format!("`{host}` cannot be the name in a certificate")))?;
        Some((tls(file, config)?, name))
    } else if *scheme == Scheme::HTTP {
        if !is_loopback(&host) && !config.dangerous_plaintext {
            let what = "telemetry would cross the network in plain text";
            return Err(file.toml.problem(key, what).help(
                "use `https` and `telemetry.ca`, a collector on this machine, or set `telemetry.dangerous_plaintext = true` where the network is trusted",
            ));
        }
        None
    } else {
        return Err(wrong(format!("`{scheme}` is not a scheme of OTLP")));
    };
    let endpoint = endpoint.trim_end_matches('/').to_owned();
    Ok(Target { endpoint, port: uri.port_u16().unwrap_or(port), host, tls })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn tls(file: &ConfigFile, config: &TelemetryConfig) -> Result<Arc<ClientConfig>, Problem> {
    let key = "telemetry.ca";
    let Some(ca) = &config.ca else {
        let what = "the collector's certificate has nothing to be verified against";
        return Err(file.toml.problem("telemetry.endpoint", what).help(
            "set `telemetry.ca` to a PEM file of the authority that issued it, such as \"/etc/ssl/certs/ca-certificates.crt\" for public ones",
        ));
    };
    let path = file.path(ca);
    let unusable = |cause: String| {
        file.toml.problem(key, format!("`{}` cannot be used", path.display())).cause(cause).help("name a PEM file")
    };
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&path)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(certificates);
    if taken == 0 {
        return Err(unusable("it holds no certificate of an authority".to_owned()));
    }
    let options = federation::trust::TlsOptions { post_quantum: file.config.tls.post_quantum };
    // Collectors are other people's: what rustls takes by default, 1.2 among it, and not only what gateways speak.
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups.clone_from(&federation::trust::provider(&options).kx_groups);
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let protocol: &[u8] = if config.protocol == OtlpProtocol::Grpc { b"h2" } else { b"http/1.1" };
    client.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(client))
}

/// Reads `name: value` lines. What they say may be a secret, and is in no message.
fn headers(file: &ConfigFile, path: &Path) -> Result<HeaderMap, Problem> {
    let path = file.path(path);
    let wrong = |what: String| file.toml.problem("telemetry.headers", what);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        wrong(format!("`{}` cannot be read", path.display()))
            .cause(error.to_string())
            .help("write a header a line, as in `authorization: Bearer …`")
    })?;
    let mut headers = HeaderMap::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let read = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::try_from(name.trim()).ok()?;
            let mut value = HeaderValue::try_from(value.trim()).ok()?;
            value.set_sensitive(true);
            // gRPC carries text only in metadata that is not named binary.
            (!name.as_str().ends_with("-bin") && value.to_str().is_ok()).then_some((name, value))
        });
        let Some((name, value)) = read else {
            let what = format!("line {} of `{}` is not a header", at.saturating_add(1), path.display());
            return Err(wrong(what).help("write `name: value` in ASCII; names that end in `-bin` cannot be used"));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(telemetry: &str) -> Result<Option<Plan>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        let text = format!(
            "format = \"drawbridge.gateway/v1\"\nmember = \"county.example\"\ngateway = \"main\"\n[telemetry]\n{telemetry}"
        );
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("headers"), "authorization: Bearer canary\n\nX-Scope: a: b\n").unwrap();
        std::fs::write(folder.path().join("wrong"), "authorization: fine\ncanary\n").unwrap();
        let file = ConfigFile::read(&file, []).map_err(|problems| problems[0].to_string())?;
        Plan::load(&file).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_set() {
        assert!(load("").unwrap().is_none() && load("sample = 0.5\n").unwrap().is_none());
    }

    #[test]
    fn an_endpoint_on_this_machine_may_be_plain_text_and_others_only_where_that_is_said() {
        let plan = load("endpoint = \"http://127.0.0.1:4317/\"\n").unwrap().unwrap();
        assert_eq!(
            (plan.target.endpoint.as_str(), plan.target.port, plan.plaintext()),
            ("http://127.0.0.1:4317", 4317, false)
        );
        let plan = load("endpoint = \"http://[::1]\"\nprotocol = \"http\"\n").unwrap().unwrap();
        assert_eq!((plan.target.host.as_str(), plan.target.port), ("::1", 4318));
        assert!(load("endpoint = \"http://collector:4317\"\n").unwrap_err().contains("plain text"));
        let plan = load("endpoint = \"http://collector:4317\"\ndangerous_plaintext = true\n").unwrap().unwrap();
        assert!(plan.plaintext());
    }

    #[test]
    fn every_problem_is_told_at_once_and_without_secrets() {
        let told =
            load("endpoint = \"ftp://collector\"\nsample = 1.5\nqueue = 0\ninterval = \"10ms\"\nheaders = \"wrong\"\n")
                .unwrap_err();
        for part in ["scheme of OTLP", "not a share", "queue of 0", "each second", "line 2"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("canary") && !told.contains("fine"), "{told}");
        for secret in ["https://user:canary@collector", "https://collector?key=canary", "user:canary@collector"] {
            let told = load(&format!("endpoint = \"{secret}\"\n")).unwrap_err();
            assert!(told.contains("telemetry.endpoint") && !told.contains("canary"), "{told}");
        }
        assert!(load("endpoint = \"https://collector:4317\"\n").unwrap_err().contains("verified against"));
        assert!(load("endpoint = \"http://localhost:4317/v1\"\n").unwrap_err().contains("has no path"));
    }

    #[test]
    fn headers_are_secrets() {
        let plan = load("endpoint = \"http://localhost\"\nheaders = \"headers\"\n").unwrap().unwrap();
        assert_eq!(plan.headers.get("x-scope").unwrap(), "a: b");
        assert!(!format!("{plan:?}").contains("canary"), "{plan:?}");
    }
}
