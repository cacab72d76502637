//! A listener of Kafka with TLS and SASL: its certificate, and the password of its clients.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::run_to_end;
use super::error::DevstackError;
use super::port::free_port;

/// The user that the listener accepts.
pub const SECURED_USER: &str = "onrecord";
/// The password of that user.
pub const SECURED_PASSWORD: &str = "password-of-the-tests";
/// The password of the key store, which is removed with its folder.
const STORE_PASSWORD: &str = "changeit";
/// Timeout of one run of the key tool.
const KEYTOOL_TIMEOUT: Duration = Duration::from_secs(60);

/// A listener that takes SCRAM-SHA-512 over TLS, under the name `localhost`.
pub struct SecuredListener {
    folder: PathBuf,
    port: u16,
}

impl SecuredListener {
    /// Makes its key and its certificate in this folder.
    pub(crate) async fn create(folder: &Path) -> Result<Self, DevstackError> {
        let listener = Self { folder: folder.into(), port: free_port()? };
        let mut key = listener.keytool("-genkeypair");
        key.args(["-keyalg", "RSA", "-keysize", "2048", "-validity", "30"]);
        key.args(["-dname", "CN=localhost", "-ext", "san=dns:localhost"]);
        run_to_end(key, &folder.join("keytool.log"), KEYTOOL_TIMEOUT).await?;
        let mut certificate = listener.keytool("-exportcert");
        certificate.arg("-rfc").arg("-file").arg(listener.certificate());
        run_to_end(certificate, &folder.join("keytool.log"), KEYTOOL_TIMEOUT).await?;
        Ok(listener)
    }

    /// The value for `bootstrap.servers`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The certificate, in PEM: the authority of itself.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    /// Its entries in `listeners`, `advertised.listeners` and `listener.security.protocol.map`.
    pub(crate) fn entries(&self) -> [String; 3] {
        let address = format!(",SECURED://localhost:{}", self.port);
        [address.clone(), address, ",SECURED:SASL_SSL".to_owned()]
    }

    /// Its own properties.
    pub(crate) fn properties(&self) -> String {
        format!(
            "listener.name.secured.ssl.keystore.type=PKCS12\n\
             listener.name.secured.ssl.keystore.location={}\n\
             listener.name.secured.ssl.keystore.password={STORE_PASSWORD}\n\
             listener.name.secured.ssl.key.password={STORE_PASSWORD}\n\
             listener.name.secured.sasl.enabled.mechanisms=SCRAM-SHA-512\n\
             listener.name.secured.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n",
            self.key_store().display(),
        )
    }

    /// The arguments by which the storage is formatted with the password of the clients.
    pub(crate) fn format_arguments() -> [String; 2] {
        let user = format!("SCRAM-SHA-512=[name={SECURED_USER},password={SECURED_PASSWORD}]");
        ["--add-scram".to_owned(), user]
    }

    fn key_store(&self) -> PathBuf {
        self.folder.join("keys.p12")
    }

    fn keytool(&self, command: &str) -> Command {
        let mut keytool = Command::new("keytool");
        keytool.args([command, "-alias", "broker", "-storetype", "PKCS12"]);
        keytool.args(["-storepass", STORE_PASSWORD, "-keystore"]).arg(self.key_store());
        keytool
    }
}
