//! Certificates for TLS, made for each test.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use tempfile::TempDir;

/// A certification authority with a directory for its files.
pub struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, both in files.
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    #[track_caller]
    pub fn new() -> Authority {
        let mut params = params("test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("ca.pem"), issuer.pem()).expect("a file");
        Authority { dir, issuer }
    }

    /// The file with its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate whose subject is this common name.
    #[track_caller]
    pub fn issue(&self, name: &str) -> Certificate {
        self.sign(name, &params(name))
    }

    /// A certificate with other names besides, each with its kind: `dns:x`, `uri:x` or `email:x`.
    #[track_caller]
    pub fn issue_with(&self, name: &str, alternatives: &[&str]) -> Certificate {
        let mut params = params(name);
        params.subject_alt_names = alternatives.iter().map(|name| alternative(name)).collect();
        self.sign(name, &params)
    }

    /// A certificate that ran out long ago.
    #[track_caller]
    pub fn issue_expired(&self, name: &str) -> Certificate {
        let mut params = params(name);
        params.not_after = date_time_ymd(2000, 1, 1);
        self.sign(name, &params)
    }

    #[track_caller]
    fn sign(&self, name: &str, params: &CertificateParams) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = |end: &str| self.dir.path().join(format!("{name}{end}"));
        let files = Certificate { certificate: file(".pem"), key: file(".key") };
        fs::write(&files.certificate, certificate.pem()).expect("a file");
        fs::write(&files.key, key.serialize_pem()).expect("a file");
        files
    }
}

impl Certificate {
    /// Puts another certificate in the place of this one.
    #[track_caller]
    pub fn replace_by(&self, other: &Certificate) {
        let copy = |from: &Path, to: &Path| fs::copy(from, to).expect("the file can be replaced");
        copy(&other.certificate, &self.certificate);
        copy(&other.key, &self.key);
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

#[track_caller]
fn alternative(name: &str) -> SanType {
    let (kind, name) = name.split_once(':').expect("a kind");
    let name = name.try_into().expect("plain characters");
    match kind {
        "dns" => SanType::DnsName(name),
        "uri" => SanType::URI(name),
        "email" => SanType::Rfc822Name(name),
        _ => panic!("no kind of name is called {kind}"),
    }
}
