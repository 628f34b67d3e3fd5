use super::{Args, Context, Failure};

/// `pause ID` and `resume ID`
pub(crate) fn run(context: &Context, mut args: Args, resume: bool) -> Result<i32, Failure> {
    if args.flag()?.is_some() {
        return args.unknown();
    }
    let id = context.id(&mut args)?;
    args.end()?;
    if resume {
        context.runtime.resume(&id)?;
    } else {
        context.runtime.pause(&id)?;
    }
    Ok(0)
}
