//! The router, as a process.

use crate::node::Frame;

/// Serves until the parent wants it to end.
pub(crate) async fn serve(frame: Frame) -> anyhow::Result<()> {
    let _ = frame;
    anyhow::bail!("later")
}
