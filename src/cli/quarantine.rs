//! `onrecord quarantine`: generates the pair of keys for unreadable content, and opens sealed content.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use crypto_box::SecretKey;
use crypto_box::aead::OsRng;

/// The options of `onrecord quarantine`.
#[derive(Args)]
pub(crate) struct QuarantineOptions {
    #[command(subcommand)]
    command: QuarantineCommand,
}

#[derive(Subcommand)]
enum QuarantineCommand {
    /// Generates a pair of keys and prints it: the public one for [quarantine] seal_to, the private
    /// one for `open`. It is stored nowhere.
    Key,
    /// Opens sealed content and writes the bytes as received to standard output.
    Open {
        /// The member `sealed` of a row of /v1/quarantine, in base64 or as bytes.
        file: PathBuf,
        /// The file with the private key; without it the key is read from standard input.
        #[arg(long, value_name = "FILE")]
        private_key: Option<PathBuf>,
    },
}

impl QuarantineOptions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            QuarantineCommand::Key => {
                let private = SecretKey::generate(&mut OsRng);
                let public = STANDARD.encode(private.public_key().as_bytes());
                let private = STANDARD.encode(private.to_bytes());
                println!(
                    "private key, for `onrecord quarantine open`; keep it away from the service:\n{private}"
                );
                println!("for the settings:\n[quarantine]\nseal_to = \"{public}\"");
            }
            QuarantineCommand::Open { file, private_key } => {
                let private = private_key_text(private_key.as_deref())?;
                let sealed = std::fs::read(&file)
                    .with_context(|| format!("{} cannot be read", file.display()))?;
                let opened = open(&private, &sealed)?;
                std::io::stdout().write_all(&opened).context("the content cannot be written")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn private_key_text(file: Option<&Path>) -> anyhow::Result<String> {
    match file {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("the private key in {} cannot be read", file.display())),
        None => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("the private key cannot be read from standard input")?;
            Ok(text)
        }
    }
}

/// Opens a sealed box, which is in base64 or not.
fn open(private: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
    let key = STANDARD.decode(private.trim()).ok().and_then(|key| <[u8; 32]>::try_from(key).ok());
    let key = key.map(SecretKey::from).ok_or_else(|| {
        anyhow!("this is not a private key of `onrecord quarantine key`: 32 bytes in base64")
    })?;
    // Bytes that are no base64 are the box itself.
    let decoded = STANDARD.decode(sealed.trim_ascii());
    let sealed = decoded.as_deref().unwrap_or(sealed);
    key.unseal(sealed).map_err(|_| {
        anyhow!(
            "the content cannot be opened: it was sealed to another key, or it is not all of it"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_content_is_opened_as_bytes_and_in_base64_by_its_own_key_only() {
        let key = SecretKey::generate(&mut OsRng);
        let private = STANDARD.encode(key.to_bytes());
        let sealed = key.public_key().seal(&mut OsRng, b"\x00{broken").unwrap();
        let text = format!("{}\n", STANDARD.encode(&sealed));
        for sealed in [&sealed, text.as_bytes()] {
            assert_eq!(open(&format!("{private}\n"), sealed).unwrap(), b"\x00{broken");
        }
        let other = STANDARD.encode(SecretKey::generate(&mut OsRng).to_bytes());
        assert!(open(&other, &sealed).unwrap_err().to_string().contains("another key"));
        assert!(
            open("short", &sealed).unwrap_err().to_string().contains("onrecord quarantine key")
        );
    }
}
