//! `tls.*`: the same options, under the same names, wherever a connection can be encrypted.

use std::path::PathBuf;

use super::{decode::View, options::options, secret};

options! {
    #[derive(Debug, Clone)]
    pub struct Tls: Default {
        /// PEM file of authorities to trust instead of the system's.
        pub ca_file: Option<PathBuf> = None,
        /// PEM file of the client certificate and its chain; needs `tls.key_file`.
        pub crt_file: Option<PathBuf> = None,
        /// PEM file of the client certificate's key; needs `tls.crt_file`.
        let key("key_file"): Option<PathBuf> = None,
        /// PEM file of the client certificate's key.
        pub key_file: Option<PathBuf> = from |view| with_its_certificate(view, key),
        /// `false` trusts any certificate whatsoever.
        pub verify_certificate: bool = true,
        /// `false` trusts a certificate that is for another name.
        pub verify_hostname: bool = true,
        /// Name to ask for and to check instead of the host's.
        pub server_name: Option<String> = None,
    }
}

/// A certificate without its key is of no use, nor the other way round.
fn with_its_certificate(view: &View<'_>, key: Option<PathBuf>) -> Option<Option<PathBuf>> {
    match (view.has("crt_file"), view.has("key_file")) {
        (true, false) => {
            view.problem("crt_file", "needs tls.key_file beside it: the key of this certificate");
            None
        }
        (false, true) => {
            view.problem("key_file", "needs tls.crt_file beside it: the certificate of this key");
            None
        }
        _ => {
            if let Some(key) = &key {
                secret::warn_of(view, "key_file", key);
            }
            Some(key)
        }
    }
}
