//! TLS for a listener: its certificate, the handshake, and the names in a client's certificate.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, KeyProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use x509_cert::Certificate;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::config::{self, CertificateName};
use crate::wire::socket::Socket;
use crate::wire::tls::{Carrier, Tls};

/// Reads the files that TLS is spoken with.
///
/// # Errors
/// When some cannot be used; the message names each of them.
pub fn load(files: &config::Tls) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let keys = provider.key_provider;
    let verifier = files.client_ca.as_deref().map(|file| verifier(file, provider)).transpose();
    let (verifier, key, certificates) =
        match (verifier, private_key(keys, &files.key), certificates("certificate", &files.certificate)) {
            (Ok(verifier), Ok(key), Ok(certificates)) => (verifier, key, certificates),
            (verifier, key, certificates) => {
                let unusable: Vec<String> =
                    [verifier.err(), key.err(), certificates.err()].into_iter().flatten().collect();
                return Err(unusable.join("; "));
            }
        };
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(certificates, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => unusable("key", &files.key, "it is not the key of `tls.certificate`"),
        error => unusable("certificate", &files.certificate, error),
    })?;
    // A resumed session would skip the look at the client's certificate, which may have run out meanwhile.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What looks at clients' certificates: they are to be issued by those in a file.
fn verifier(file: &Path, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let unusable = |error: &dyn Display| unusable("client-ca", file, error);
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client-ca", file)? {
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier.build().map_err(|error| unusable(&error))
}

fn private_key(keys: &dyn KeyProvider, file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = config::read_regular(file).map_err(|error| unusable("key", file, error))?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound if is_encrypted(&bytes) => unusable("key", file, "it is encrypted; decrypt it"),
        pem::Error::NoItemsFound => unusable("key", file, "no private key is in it"),
        error => unusable("key", file, error),
    })?;
    match keys.load_private_key(key.clone_key()) {
        Ok(_) => Ok(key),
        Err(_) => {
            Err(unusable("key", file, "it is none of RSA with 2048 bits or more, ECDSA on P-256 or P-384, Ed25519"))
        }
    }
}

/// Whether there is an encrypted key in a file, which is none to the library.
fn is_encrypted(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| text.contains("BEGIN ENCRYPTED PRIVATE KEY"))
}

/// All certificates in a file; there is at least one.
fn certificates(name: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = config::read_regular(file).map_err(|error| unusable(name, file, error))?;
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if certificates.is_empty() => Err(unusable(name, file, "no certificate is in it")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(name, file, error)),
    }
}

fn unusable(key: &str, file: &Path, error: impl Display) -> String {
    format!("{} cannot be the `tls.{key}`: {error}", file.display())
}

/// Shakes hands with a client. Returns the connection and the names in the client's certificate, if it was asked for one.
///
/// # Errors
/// When the client is not speaking TLS, or shows no good certificate where one is asked for.
pub async fn accept(acceptor: &TlsAcceptor, socket: Socket) -> io::Result<(Tls, Vec<CertificateName>)> {
    let socket = Arc::new(socket);
    let stream = acceptor.accept(Carrier(Arc::clone(&socket))).await?;
    // The client spoke last and gets no answer before its first line.
    socket.acknowledge();
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let names = certificate.map(|certificate| names(certificate)).unwrap_or_default();
    Ok((Tls::new(stream), names))
}

/// The names in a certificate that has been verified: the alternative ones, then the common name.
fn names(certificate: &[u8]) -> Vec<CertificateName> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Vec::new() };
    let certificate = certificate.tbs_certificate;
    let mut names = Vec::new();
    if let Ok(Some((_, SubjectAltName(alternatives)))) = certificate.get::<SubjectAltName>() {
        names.extend(alternatives.iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(CertificateName::Dns(name.as_str().to_ascii_lowercase())),
            GeneralName::UniformResourceIdentifier(name) => Some(CertificateName::Uri(name.to_string())),
            GeneralName::Rfc822Name(name) => Some(CertificateName::Email(name.to_string())),
            _ => None,
        }));
    }
    for attribute in certificate.subject.0.iter().flat_map(|part| part.0.iter()) {
        if attribute.oid == COMMON_NAME {
            let value = &attribute.value;
            let text = match value.tag() {
                Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().to_owned()),
                Tag::PrintableString => value.decode_as::<PrintableStringRef<'_>>().map(|text| text.to_string()),
                Tag::Ia5String => value.decode_as::<Ia5StringRef<'_>>().map(|text| text.to_string()),
                _ => value.decode_as::<TeletexStringRef<'_>>().map(|text| text.to_string()),
            };
            names.extend(text.map(CertificateName::Cn));
        }
    }
    names
}
