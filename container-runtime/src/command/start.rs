use super::{Args, Context, Failure};

/// `start ID`
pub(crate) fn run(context: &Context, mut args: Args) -> Result<i32, Failure> {
    if args.flag()?.is_some() {
        return args.unknown();
    }
    let id = context.id(&mut args)?;
    args.end()?;
    for warning in context.runtime.start(&id)? {
        context.log.warn(&warning);
    }
    Ok(0)
}
