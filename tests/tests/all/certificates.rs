//! Certificates for servers and clients of a test, made as it runs.

use std::path::PathBuf;
use std::process::{Command, Output};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::harness::binary;
use crate::harness::server::Site;

/// Who signs certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) file: PathBuf,
}

impl Authority {
    pub(crate) fn new(site: &Site, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A certificate of the same name as its issuer is taken for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let file = site.folder().join(format!("{name}.pem"));
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// A certificate for this machine and its key, as PEM.
    pub(crate) fn sign(&self) -> (String, String) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        (signed.pem(), key.serialize_pem())
    }

    /// The same as files.
    pub(crate) fn place(&self, site: &Site, name: &str) -> [String; 2] {
        place(site, name, &self.sign())
    }

    /// The same for a client: where certificate and key lie.
    pub(crate) fn files(&self, site: &Site, name: &str) -> (PathBuf, PathBuf) {
        self.place(site, name);
        let file = |kind: &str| site.folder().join(format!("{name}-{kind}.pem"));
        (file("cert"), file("key"))
    }

    /// Runs a command of the binary that trusts this authority alone.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .args(arguments)
            .env("SSL_CERT_FILE", &self.file)
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap()
    }
}

/// Writes a certificate and its key, and says it as the server's settings.
pub(crate) fn place(site: &Site, name: &str, (cert, key): &(String, String)) -> [String; 2] {
    let files = [("cert", cert), ("key", key)];
    files.map(|(kind, pem)| {
        let path = site.folder().join(format!("{name}-{kind}.pem"));
        let new = site.folder().join("new.pem");
        std::fs::write(&new, pem).unwrap();
        std::fs::rename(&new, &path).unwrap();
        format!("tls.{kind}_file={}", path.display())
    })
}
