//! Signatures of webhooks.
//!
//! Reference: Standard Webhooks 1.0 (standardwebhooks.com): `v1,` and the base64 of the HMAC-SHA256 of message id,
//! timestamp and body, joined by dots; the key is written `whsec_` and base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;
use uuid::Uuid;

/// What written keys begin with.
const PREFIX: &str = "whsec_";
/// How many bytes a key may have.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What the messages of a subscriber are signed with.
#[derive(Debug)]
pub struct Key(SecretSlice<u8>);

impl Key {
    /// Reads a key as it is written.
    ///
    /// # Errors
    /// What is wrong with it, without it.
    pub fn read(secret: &SecretString) -> Result<Self, String> {
        let encoded = secret
            .expose_secret()
            .strip_prefix(PREFIX)
            .ok_or_else(|| format!("`secret` does not begin with {PREFIX:?}"))?;
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_| format!("`secret` is not base64 after {PREFIX:?}"))?;
        if !BYTES.contains(&bytes.len()) {
            return Err(format!(
                "`secret` has {} bytes after decoding, where {} to {} are needed",
                bytes.len(),
                BYTES.start(),
                BYTES.end()
            ));
        }
        Ok(Self(bytes.into()))
    }

    /// The signature of a message: `v1,` and base64.
    pub(crate) fn sign(&self, id: Uuid, timestamp: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret())
            .expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Python: `hmac.new(base64.b64decode(key), f"{id}.{timestamp}.{body}".encode(), "sha256")`.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let key = Key::read(&"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()).unwrap();
        let id = Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
        let signature = key.sign(id, 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,7m3O4F4VOGXVsVdkyqsDg+T4uINd/YcWh1Ejdhb1CFY=");
    }

    #[test]
    fn a_key_that_cannot_be_used_is_named_but_not_shown() {
        let long = format!("whsec_{}", STANDARD.encode([0; 65]));
        for (bad, why) in [
            ("hunter2", "does not begin"),
            ("whsec_hunter2!", "not base64"),
            ("whsec_aHVudGVyMg==", "7 bytes"),
            (long.as_str(), "65 bytes"),
        ] {
            let error = Key::read(&bad.into()).unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter"), "{error}");
        }
        let key = Key::read(&"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()).unwrap();
        assert!(!format!("{key:?}").contains("49"));
    }
}
