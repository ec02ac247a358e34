//! A pair of nginx as gRPC proxies with mutual TLS between them.
//!
//! As its operators tune it: connections kept, many streams a connection, no access log, a worker per core.

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
    let server = format!(
        "listen {listen} http2 ssl backlog=4096;\n{}location / {{ grpc_pass grpc://next; }}\n",
        accepting(certificates)
    );
    start(folder, listen, backend, &server)
}

/// Starts the consumer's proxy, which calls the provider's.
pub(super) fn consumer(
    folder: &Path,
    certificates: &Certificates,
    listen: SocketAddr,
    provider: SocketAddr,
    client_tls: bool,
) -> Result<Process> {
    let (ssl, accepting) = if client_tls { (" ssl", accepting(certificates)) } else { ("", String::new()) };
    let server = format!(
        "listen {listen} http2{ssl} backlog=4096;\n{accepting}\
         grpc_ssl_certificate {};\ngrpc_ssl_certificate_key {};\ngrpc_ssl_trusted_certificate {};\n\
         grpc_ssl_verify on;\ngrpc_ssl_name localhost;\ngrpc_ssl_server_name on;\ngrpc_ssl_protocols TLSv1.3;\n\
         location / {{ grpc_pass grpcs://next; }}\n",
        certificates.file("client.pem"),
        certificates.file("client.key.pem"),
        certificates.file("root.pem"),
    );
    start(folder, listen, provider, &server)
}

fn accepting(certificates: &Certificates) -> String {
    format!(
        "ssl_certificate {};\nssl_certificate_key {};\nssl_client_certificate {};\nssl_verify_client on;\n\
         ssl_protocols TLSv1.3;\n",
        certificates.file("server.pem"),
        certificates.file("server.key.pem"),
        certificates.file("root.pem"),
    )
}

fn start(folder: &Path, listen: SocketAddr, next: SocketAddr, server: &str) -> Result<Process> {
    fs::create_dir_all(folder)?;
    let here = folder.display();
    // Started by root, workers would otherwise be another user, who may not enter this folder.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let text = format!(
        "daemon off;\n{user}\nworker_processes auto;\npid {here}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n\
         access_log off;\n\
         client_body_temp_path {here}/body;\nproxy_temp_path {here}/proxy;\nfastcgi_temp_path {here}/fastcgi;\n\
         uwsgi_temp_path {here}/uwsgi;\nscgi_temp_path {here}/scgi;\n\
         client_max_body_size 0;\nkeepalive_requests 1000000000;\nhttp2_max_concurrent_streams 1024;\n\
         grpc_read_timeout 600s;\ngrpc_send_timeout 600s;\n\
         upstream next {{ server {next}; keepalive 1024; keepalive_requests 1000000000; }}\n\
         server {{\n{server}}}\n}}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let mut command = Command::new(program);
    // `-e`: where it complains until it has read its file.
    command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(&file);
    let mut process = Process::start(&command, folder.join("nginx.log"))?;
    process.wait_for(listen)?;
    Ok(process)
}
