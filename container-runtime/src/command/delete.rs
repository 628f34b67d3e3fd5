use super::{Args, Context, Failure};

/// `delete [-f] ID`
pub(crate) fn run(context: &Context, mut args: Args) -> Result<i32, Failure> {
    let mut force = false;
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "f" | "force" => force = args.switch()?,
            _ => return args.unknown(),
        }
    }
    let id = context.id(&mut args)?;
    args.end()?;
    for warning in context.runtime.delete(&id, force)? {
        context.log.warn(&warning);
    }
    Ok(0)
}
