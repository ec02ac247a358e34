use std::time::Duration;

use insta::assert_snapshot;
use rustls::{CertificateError, InvalidMessage, PeerIncompatible};

use super::*;
use crate::IdentityError;
use crate::time::moment;

fn all() -> Vec<Distrust> {
    let (now, past) = (moment(1_800_000_000), moment(1_800_000_000 - 3 * 86_400));
    let gateway: GatewayId = "trust.example/main".parse().unwrap();
    let other: GatewayId = "police.example/main".parse().unwrap();
    let presented = Identity::Gateway(gateway.clone());
    let system = Identity::System("trust.example/housing".parse().unwrap());
    let (member, own) = (gateway.member().clone(), "county.example".parse::<MemberId>().unwrap());
    vec![
        Distrust::None,
        Distrust::Large,
        Distrust::Identity(IdentityError::Several { count: 2 }),
        Distrust::WrongKind { presented: system.clone(), expected: Expected::Links },
        Distrust::WrongKind { presented: presented.clone(), expected: Expected::Clients },
        Distrust::WrongKind { presented: system.clone(), expected: Expected::Gateway(gateway.clone()) },
        Distrust::ForeignMember { presented: system, own },
        Distrust::OtherGateway { wanted: gateway.clone(), presented: other },
        Distrust::UnknownMember { member: member.clone() },
        Distrust::UnlistedGateway { gateway: gateway.clone() },
        Distrust::RetiredGateway { gateway },
        Distrust::EntryEnded { member, ended: past, now },
        Distrust::Development { presented: presented.clone() },
        Distrust::ForeignRoot { presented: presented.clone() },
        Distrust::Expired { presented: presented.clone(), ended: past, now },
        Distrust::NotYetValid { presented: presented.clone(), begins: now + Duration::from_hours(1), now },
        Distrust::Revoked { presented: presented.clone() },
        Distrust::RevocationList { presented: presented.clone() },
        Distrust::WrongUse { presented: presented.clone() },
        Distrust::Chain { presented, detail: webpki::Error::MaximumPathDepthExceeded.to_string() },
    ]
}

#[test]
fn every_distrust_has_a_cause_and_a_cure() {
    let told: Vec<String> = all()
        .into_iter()
        .map(|distrust| explain(&CertificateError::Other(rustls::OtherError(Arc::new(distrust))).into()))
        .map(|Explanation { cause, help }| format!("  cause: {cause}\n  = help: {help}\n"))
        .collect();
    assert_snapshot!(told.join("\n"));
}

#[test]
fn every_tls_error_has_a_cause_and_a_cure() {
    let time = moment(1_800_000_000);
    let errors: Vec<rustls::Error> = vec![
        rustls::Error::NoCertificatesPresented,
        rustls::Error::PeerIncompatible(PeerIncompatible::SupportedVersionsExtensionRequired),
        rustls::Error::NoApplicationProtocol,
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType),
        rustls::Error::DecryptError,
        CertificateError::ExpiredContext { time: unix(time), not_after: unix(time - Duration::from_hours(72)) }.into(),
        CertificateError::Expired.into(),
        CertificateError::NotValidYetContext { time: unix(time), not_before: unix(time + Duration::from_hours(2)) }
            .into(),
        CertificateError::NotValidYet.into(),
        CertificateError::Revoked.into(),
        CertificateError::UnknownIssuer.into(),
        CertificateError::ApplicationVerificationFailure.into(),
        CertificateError::BadEncoding.into(),
        CertificateError::BadSignature.into(),
        CertificateError::InvalidPurpose.into(),
    ];
    let alerts = [
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateRevoked,
        AlertDescription::UnknownCA,
        AlertDescription::AccessDenied,
        AlertDescription::CertificateRequired,
        AlertDescription::BadCertificate,
        AlertDescription::CertificateUnknown,
        AlertDescription::ProtocolVersion,
        AlertDescription::NoApplicationProtocol,
        AlertDescription::InternalError,
    ];
    let errors = errors.into_iter().chain(alerts.map(rustls::Error::AlertReceived));
    let told: Vec<String> = errors
        .map(|error| explain_io(&io::Error::new(io::ErrorKind::InvalidData, error)))
        .chain(
            [
                io::ErrorKind::UnexpectedEof,
                io::ErrorKind::ConnectionRefused,
                io::ErrorKind::TimedOut,
                io::ErrorKind::HostUnreachable,
                io::ErrorKind::InvalidInput,
            ]
            .map(|kind| explain_io(&kind.into())),
        )
        .map(|Explanation { cause, help }| format!("  cause: {cause}\n  = help: {help}\n"))
        .collect();
    assert_snapshot!(told.join("\n"));
}
