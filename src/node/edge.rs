//! later
use crate::node::Frame;
pub(crate) async fn serve(frame: Frame) -> anyhow::Result<()> {
    let _ = frame;
    anyhow::bail!("later")
}
