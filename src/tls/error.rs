//! What can be wrong with TLS settings and the files that they name. Each error is one line that names
//! the setting.

/// See the head of the module.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or not be written.
    #[error("setting {setting}: {path:?}: {error}")]
    File {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("setting {setting}: {path:?}: {what}")]
    Content {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A certificate without a key, or the like.
    #[error("setting {setting}: {what}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What is wrong with it.
        what: String,
    },
}
