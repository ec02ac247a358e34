//! Certificates as a handshake presents them, and the revocation lists of members.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use federation::{
    Identity,
    certificate::{Facts, is_development, read_pem},
    trust::RevocationList,
};
use rustls_pki_types::CertificateDer;

/// Reads the bytes as a certificate, a list and PEM.
pub fn run(input: &[u8]) {
    let certificate = CertificateDer::from(input);
    if let Ok(identity) = Identity::from_certificate(&certificate) {
        assert_eq!(identity.to_string().parse::<Identity>().as_ref(), Ok(&identity));
    }
    let _ = (Facts::read(&certificate), is_development(&certificate));
    let member = "council.example".parse().unwrap();
    let list = format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", STANDARD.encode(input));
    let _ = RevocationList::parse_all(&member, "list.crl.pem", &list);
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = (read_pem(text), RevocationList::parse_all(&member, "list.crl.pem", text));
    }
}
