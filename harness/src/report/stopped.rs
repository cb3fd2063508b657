//! The standstill at the first violation: how soon it came, how each node was, and the end of what each left to be seen.

use std::fmt::Write;

use super::escape::Escaped;
use crate::store::Stop;
use crate::verdict::Kept;

/// The section; nothing where the run was not stopped.
pub(super) fn section(page: &mut String, stop: Option<&Stop>, kept: &[Kept]) {
    let Some(stop) = stop else { return };
    let _ = writeln!(
        page,
        "<h2>Stopped at the first violation</h2>\n<p>{}. What the nodes left to be seen lies whole in the directory \
         <code>stopped</code> of the run; here are the ends.</p>",
        Escaped(&stop.to_string())
    );
    for Kept { name, text } in kept {
        // How they were is short, and comes before what they said.
        let open = if name == "status" { " open" } else { "" };
        let (name, text) = (Escaped(name), Escaped(text));
        let _ = writeln!(page, "<details{open}><summary>{name}</summary><pre>{text}</pre></details>");
    }
}
