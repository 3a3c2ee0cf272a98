//! How a command fails: a text for people and an exit code for scripts.

use std::process::ExitCode;

use courant_model::Problems;

/// A command's failure. Printed once, by [`crate::cli::run`].
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line or a file is wrong; exit code 2.
    Usage(String),
    /// Everything wrong with a file; exit code 2.
    File(Problems),
    /// The work failed; exit code 1.
    Failed(String),
    /// The work was done and its answer is no (a failed test); exit code 1, nothing to add.
    Said,
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::File(_) => ExitCode::from(2),
            Self::Failed(_) | Self::Said => ExitCode::from(1),
        }
    }

    /// What to print, if anything.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Usage(text) | Self::Failed(text) => Some(format!("error: {text}")),
            Self::File(problems) => {
                let count = problems.len();
                let plural = if count == 1 { "" } else { "s" };
                Some(format!("{problems}\nerror: {count} problem{plural}"))
            }
            Self::Said => None,
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::File(problems)
    }
}

macro_rules! failed_from {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Failed(error.to_string())
            }
        })+
    };
}

failed_from!(
    courant_log::LogError,
    courant_stores::StoreError,
    crate::access::AccessError,
    std::io::Error,
);
