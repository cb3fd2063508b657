//! Results on stdout. A closed pipe is success: whoever closed it has seen enough.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::{Done, Failure};
use crate::exit::Cause;

/// Prints a result, then ends with this code.
pub(super) fn print(text: &str, code: u8) -> Done {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let error = anyhow::Error::new(error).context("write the result");
            Err(Failure { cause: Cause::SetUp, error })
        }
        Ok(()) | Err(_) => Ok(ExitCode::from(code)),
    }
}

/// Prints a result as one line of JSON, then ends with this code.
pub(super) fn print_json<T: Serialize>(value: &T, code: u8) -> Done {
    let text = serde_json::to_string(value).map_err(Failure::of(Cause::SetUp))?;
    print(&format!("{text}\n"), code)
}
