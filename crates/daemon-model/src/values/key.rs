//! The key for digests of external values.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::spec::hex;

/// A secret of one workspace. A plain digest of a guessable value, such as a PIN, reveals it to anyone who tries all candidates; a
/// digest with a secret key does not.
#[derive(Clone, PartialEq, Eq)]
pub struct ValueKey {
    bytes: [u8; 32],
    name: String,
}

impl ValueKey {
    /// The key made from these random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        let name = Sha256::new()
            .chain_update(b"pm2-sync: the name of a key\n")
            .chain_update(bytes)
            .finalize();
        Self {
            bytes,
            name: hex(&name[..4]),
        }
    }

    /// The bytes, for storing them.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Identifies the key without revealing its bytes.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A hash that can only be made with this key. The key goes first and has a fixed length, and a part of the hash is dropped,
    /// which prevents length extension.
    pub(crate) fn hasher(&self) -> Sha256 {
        Sha256::new().chain_update(self.bytes)
    }
}

impl fmt::Debug for ValueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueKey").field(&self.name).finish()
    }
}
