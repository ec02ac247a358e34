//! A pair of `HAProxy` as gRPC proxies with mutual TLS between them.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use anyhow::Result;

use super::{certificates::Certificates, process::Process};

/// Starts the provider's proxy, in front of `backend`.
pub(super) fn provider(
    folder: &Path,
    certificates: &Certificates,
    listen: SocketAddr,
    backend: SocketAddr,
) -> Result<Process> {
    let bind = format!("bind {listen} {}", accepting(certificates));
    start(folder, listen, &bind, &format!("server next {backend} proto h2"))
}

/// Starts the consumer's proxy, which calls the provider's.
pub(super) fn consumer(
    folder: &Path,
    certificates: &Certificates,
    listen: SocketAddr,
    provider: SocketAddr,
    client_tls: bool,
) -> Result<Process> {
    let accepting = if client_tls { accepting(certificates) } else { "proto h2".to_owned() };
    let server = format!(
        "server next {provider} ssl crt {} ca-file {} verify required verifyhost localhost sni str(localhost) \
         ssl-min-ver TLSv1.3 alpn h2",
        certificates.file("client.both.pem"),
        certificates.file("root.pem"),
    );
    start(folder, listen, &format!("bind {listen} {accepting}"), &server)
}

fn accepting(certificates: &Certificates) -> String {
    format!(
        "ssl crt {} ca-file {} verify required ssl-min-ver TLSv1.3 alpn h2",
        certificates.file("server.both.pem"),
        certificates.file("root.pem"),
    )
}

fn start(folder: &Path, listen: SocketAddr, bind: &str, server: &str) -> Result<Process> {
    fs::create_dir_all(folder)?;
    let text = format!(
        "global\n    maxconn 8192\n    tune.h2.max-concurrent-streams 1024\n\
         defaults\n    mode http\n    timeout connect 5s\n    timeout client 600s\n    timeout server 600s\n    \
         http-reuse always\n\
         frontend here\n    {bind}\n    default_backend there\n\
         backend there\n    {server}\n"
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, text)?;
    let program = if Path::new("/usr/sbin/haproxy").exists() { "/usr/sbin/haproxy" } else { "haproxy" };
    let mut command = Command::new(program);
    // `-db`: one process, in the foreground.
    command.arg("-db").arg("-f").arg(&file);
    let mut process = Process::start(&command, folder.join("haproxy.log"))?;
    process.wait_for(listen)?;
    Ok(process)
}
