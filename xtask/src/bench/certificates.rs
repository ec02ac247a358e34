//! Certificates for the peers' side of the comparison: one authority, one server, one client, ECDSA P-256 as ours.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// Files that the peers read, and what the load generator needs to call them over TLS.
pub(crate) struct Certificates {
    folder: PathBuf,
    client: Arc<rustls::ClientConfig>,
}

impl Certificates {
    /// Makes everything in `folder`.
    ///
    /// # Errors
    ///
    /// When a certificate cannot be made or a file cannot be written.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        // OpenSSL takes a certificate with its issuer's name for a self-signed one, so each has a name of its own.
        params.distinguished_name.push(DnType::CommonName, "comparison authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);

        let write = |name: &str, text: &str| {
            fs::write(folder.join(name), text).with_context(|| format!("cannot write {name} in {}", folder.display()))
        };
        write("root.pem", &root.pem())?;
        let issue = |name: &str, usage| -> Result<_> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![usage];
            params.use_authority_key_identifier_extension = true;
            let certificate = params.signed_by(&key, &issuer)?;
            write(&format!("{name}.pem"), &certificate.pem())?;
            write(&format!("{name}.key.pem"), &key.serialize_pem())?;
            // HAProxy reads both from one file.
            write(&format!("{name}.both.pem"), &format!("{}{}", certificate.pem(), key.serialize_pem()))?;
            Ok((certificate, key))
        };
        issue("server", ExtendedKeyUsagePurpose::ServerAuth)?;
        let (certificate, key) = issue("client", ExtendedKeyUsagePurpose::ClientAuth)?;

        let client = client(root.der(), vec![certificate.der().clone()], &key.serialize_pem())?;
        Ok(Self { folder: folder.to_owned(), client })
    }

    /// The path of a file by name: `root.pem`, `server.pem`, `server.key.pem`, `server.both.pem`, and so on.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// How the load generator calls a peer over TLS.
    pub(crate) fn client(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.client)
    }
}

/// How the load generator calls what has a certificate under `root`, and what it presents itself.
///
/// # Errors
///
/// When the certificates and the key do not go together.
pub(super) fn client(
    root: &CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    key_pem: &str,
) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?)?;
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(client))
}
