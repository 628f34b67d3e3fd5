use container_runtime::Signal;

use super::{Args, Context, Failure};

/// `kill [-a] ID [SIGNAL]`
pub(crate) fn run(context: &Context, mut args: Args) -> Result<i32, Failure> {
    let mut all = false;
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "a" | "all" => all = args.switch()?,
            _ => return args.unknown(),
        }
    }
    let id = context.id(&mut args)?;
    let signal = args.optional().map_or(Ok(Signal::TERM), |text| text.parse())?;
    args.end()?;
    if all {
        context.runtime.kill_all(&id, signal)?;
    } else {
        context.runtime.kill(&id, signal)?;
    }
    Ok(0)
}
