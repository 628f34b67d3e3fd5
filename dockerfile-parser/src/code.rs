//! The names of the rules and faults.

use crate::diagnostic::Severity;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $severity:ident, $origin:ident, $dl:expr;)*) => {
        /// Which fault or rule a diagnostic is about.
        ///
        /// Rules of Docker's build checks bear Docker's names; those that users of hadolint know give
        /// the number they have there by [`Code::dl`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The name, as in `# check=skip=NAME`.
            pub fn name(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)* }
            }

            /// How grave it is.
            pub fn severity(self) -> Severity {
                match self { $(Code::$name => Severity::$severity,)* }
            }

            /// The number that hadolint has for it, such as `DL3008`.
            pub fn dl(self) -> Option<&'static str> {
                match self { $(Code::$name => $dl,)* }
            }

            /// Where the rule comes from.
            pub fn origin(self) -> Origin {
                match self { $(Code::$name => Origin::$origin,)* }
            }
        }
    };
}

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The syntax: the file cannot be built, or says something else than it seems to.
    Syntax,
    /// Docker's build checks.
    Docker,
    /// Docker's build checks that are off until `experimental=` asks for them.
    Experimental,
    /// Good practice, as hadolint's users know it.
    Practice,
    /// Slips of the keyboard and of word processors.
    Slip,
}

codes! {
    /// The keyword is not an instruction.
    UnknownInstruction = Error, Syntax, None;
    /// The instruction has no such flag.
    UnknownFlag = Error, Syntax, None;
    /// A flag is given twice.
    DuplicateFlag = Error, Syntax, None;
    /// A flag needs a value.
    MissingFlagValue = Error, Syntax, None;
    /// A flag's value cannot be understood.
    InvalidFlagValue = Error, Syntax, None;
    /// An instruction needs more arguments.
    MissingArgument = Error, Syntax, None;
    /// An instruction has more arguments than it takes.
    ExtraArgument = Error, Syntax, None;
    /// A stage's name has other characters than it may.
    InvalidStageName = Error, Syntax, None;
    /// A here-document's delimiter does not come.
    UnterminatedHeredoc = Error, Syntax, None;
    /// A here-document stands where none may.
    MisplacedHeredoc = Error, Syntax, None;
    /// A JSON array has something else than strings.
    JsonNotStrings = Error, Syntax, None;
    /// Arguments look like a JSON array, are none, and are taken as text.
    JsonFallback = Warning, Syntax, None;
    /// `ENV` or `LABEL` has a word without `=` after one with it.
    MissingEquals = Error, Syntax, None;
    /// A name is empty.
    BlankName = Error, Syntax, None;
    /// An instruction that `ONBUILD` cannot put off.
    OnbuildForbidden = Error, Syntax, Some("DL3043");
    /// An instruction stands before the first `FROM`.
    BeforeFrom = Error, Syntax, Some("DL3061");
    /// The file has no `FROM`.
    NoStage = Error, Syntax, None;
    /// A parser directive is given twice.
    DuplicateDirective = Error, Syntax, None;
    /// The `escape` directive names something else than `\` or a backtick.
    InvalidEscape = Error, Syntax, None;
    /// The `check` directive has an option that is none.
    InvalidCheck = Error, Syntax, None;
    /// `HEALTHCHECK` is followed by neither `CMD` nor `NONE`.
    InvalidHealthcheck = Error, Syntax, None;
    /// A variable reference, quote or escape that cannot be expanded.
    InvalidExpansion = Error, Syntax, None;
    /// A variable grows over the limit.
    ExpansionTooLarge = Error, Syntax, None;
    /// A variable where none is expanded.
    NoExpansionHere = Error, Syntax, None;
    /// Stages need each other in a circle.
    CircularDependency = Error, Syntax, Some("DL3023");
    /// `FROM` names a stage that comes later, and gets an image of that name.
    ForwardReference = Warning, Syntax, None;
    /// `COPY --from=N` with fewer stages.
    InvalidStageIndex = Error, Syntax, None;
    /// A port that is no number or range.
    InvalidPort = Error, Syntax, Some("DL3011");
    /// A pattern of an ignore file that is malformed.
    InvalidPattern = Error, Syntax, None;
    /// A NUL byte.
    NulByte = Error, Syntax, None;
    /// Bytes that are not UTF-8.
    InvalidUtf8 = Warning, Syntax, None;
    /// A byte order mark that is not at the beginning.
    MisplacedBom = Warning, Slip, None;

    /// Docker: the stage's name is not in lower case.
    StageNameCasing = Warning, Docker, None;
    /// Docker: `AS` and `FROM` differ in case.
    FromAsCasing = Warning, Docker, None;
    /// Docker: an empty line amid an instruction.
    NoEmptyContinuation = Warning, Docker, None;
    /// Docker: keywords differ in case.
    ConsistentInstructionCasing = Warning, Docker, None;
    /// Docker: two stages of one name.
    DuplicateStageName = Warning, Docker, Some("DL3024");
    /// Docker: a stage called `scratch` or `context`.
    ReservedStageName = Warning, Docker, None;
    /// Docker: `CMD` and `ENTRYPOINT` in shell form get no signals.
    JSONArgsRecommended = Warning, Docker, Some("DL3025");
    /// Docker: `MAINTAINER` is deprecated.
    MaintainerDeprecated = Warning, Docker, Some("DL4000");
    /// Docker: `FROM` uses an undeclared argument.
    UndefinedArgInFrom = Warning, Docker, None;
    /// Docker: a relative `WORKDIR` before any absolute one.
    WorkdirRelativePath = Warning, Docker, Some("DL3000");
    /// Docker: a variable is used that is not set.
    UndefinedVar = Warning, Docker, None;
    /// Docker: a second `CMD`, `ENTRYPOINT` or `HEALTHCHECK` in a stage.
    MultipleInstructionsDisallowed = Warning, Docker, Some("DL4003");
    /// Docker: `ENV name value`.
    LegacyKeyValueFormat = Warning, Docker, None;
    /// Docker: a constant `--platform`.
    FromPlatformFlagConstDisallowed = Warning, Docker, Some("DL3029");
    /// Docker: `--platform=$TARGETPLATFORM` is the default.
    RedundantTargetPlatform = Warning, Docker, None;
    /// Docker: a secret's name in `ARG` or `ENV`.
    SecretsUsedInArgOrEnv = Warning, Docker, None;
    /// Docker: with the arguments' defaults the base image has no valid name.
    InvalidDefaultArgInFrom = Warning, Docker, None;
    /// Docker: a source that the ignore file leaves out.
    CopyIgnoredFile = Warning, Docker, None;
    /// Docker: a comment before a stage or argument that does not describe it.
    InvalidDefinitionDescription = Warning, Experimental, None;
    /// Docker: a port's protocol is not in lower case.
    ExposeProtoCasing = Warning, Docker, None;
    /// Docker: `EXPOSE` with an address or host port.
    ExposeInvalidFormat = Warning, Docker, None;

    /// A program that makes no sense in a build.
    UselessCommand = Info, Practice, Some("DL3001");
    /// The last `USER` is root.
    LastUserRoot = Warning, Practice, Some("DL3002");
    /// `RUN cd`, which the next instruction does not see.
    UseWorkdir = Warning, Practice, Some("DL3003");
    /// `sudo`
    NoSudo = Warning, Practice, Some("DL3004");
    /// An image without a tag.
    UntaggedImage = Warning, Practice, Some("DL3006");
    /// An image tagged `latest`.
    LatestTag = Warning, Practice, Some("DL3007");
    /// Packages of apt without versions.
    PinAptVersions = Warning, Practice, Some("DL3008");
    /// The lists of apt stay in the layer.
    CleanAptLists = Info, Practice, Some("DL3009");
    /// Packages of pip without versions.
    PinPipVersions = Warning, Practice, Some("DL3013");
    /// `apt-get install` without `-y` waits for an answer.
    AptAssumeYes = Warning, Practice, Some("DL3014");
    /// `apt-get install` without `--no-install-recommends`.
    AptNoRecommends = Info, Practice, Some("DL3015");
    /// Packages of npm without versions.
    PinNpmVersions = Warning, Practice, Some("DL3016");
    /// Packages of apk without versions.
    PinApkVersions = Warning, Practice, Some("DL3018");
    /// `apk add` without `--no-cache`.
    ApkNoCache = Info, Practice, Some("DL3019");
    /// `ADD` of plain files.
    UseCopy = Warning, Practice, Some("DL3020");
    /// Several sources, and the destination does not end in `/`.
    CopyDestinationSlash = Error, Practice, Some("DL3021");
    /// `apt` is for people, `apt-get` for scripts.
    UseAptGet = Warning, Practice, Some("DL3027");
    /// Gems without versions.
    PinGemVersions = Warning, Practice, Some("DL3028");
    /// `yum install` without `-y`.
    YumAssumeYes = Warning, Practice, Some("DL3030");
    /// `yum clean all` is missing.
    CleanYum = Warning, Practice, Some("DL3032");
    /// `zypper install` without `-y`.
    ZypperAssumeYes = Warning, Practice, Some("DL3034");
    /// `zypper clean` is missing.
    CleanZypper = Warning, Practice, Some("DL3036");
    /// `dnf install` without `-y`.
    DnfAssumeYes = Warning, Practice, Some("DL3038");
    /// `dnf clean all` is missing.
    CleanDnf = Warning, Practice, Some("DL3040");
    /// `pip install` without `--no-cache-dir`.
    PipNoCache = Warning, Practice, Some("DL3042");
    /// `ENV` uses a variable that the same instruction sets.
    SelfReferenceInEnv = Warning, Practice, Some("DL3044");
    /// A relative destination without a `WORKDIR`.
    RelativeDestination = Warning, Practice, Some("DL3045");
    /// `useradd` with a high id makes a huge log file without `-l`.
    UseraddHighId = Warning, Practice, Some("DL3046");
    /// `wget` without `--progress` fills the log.
    WgetProgress = Info, Practice, Some("DL3047");
    /// `RUN` after `RUN` could be one layer.
    MultipleRun = Info, Practice, Some("DL3059");
    /// `yarn cache clean` is missing.
    CleanYarn = Info, Practice, Some("DL3060");
    /// Both `wget` and `curl`.
    WgetAndCurl = Warning, Practice, Some("DL4001");
    /// `ln` on `/bin/sh` where `SHELL` would do.
    UseShell = Warning, Practice, Some("DL4005");
    /// A pipe whose first programs may fail unseen.
    PipefailMissing = Warning, Practice, Some("DL4006");

    /// A full-width character where the ASCII one is meant.
    FullWidthCharacter = Warning, Slip, None;
    /// A typographic quote.
    SmartQuote = Warning, Slip, None;
    /// A comment after an instruction, which is part of it.
    TrailingComment = Warning, Slip, None;
    /// A space that is not a space: no-break, ideographic.
    UnusualSpace = Warning, Slip, None;
}

impl Code {
    /// The code of a name or of a number of hadolint's.
    pub fn find(name: &str) -> Option<Code> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.name() == name || code.dl().is_some_and(|dl| dl.eq_ignore_ascii_case(name)))
    }

    /// The page that explains it, if there is one.
    pub fn url(self) -> Option<String> {
        match self.origin() {
            Origin::Docker | Origin::Experimental => {
                let mut slug = String::from("https://docs.docker.com/go/dockerfile/rule/");
                let name = self.name().as_bytes();
                for (at, &byte) in name.iter().enumerate() {
                    let lower_next = name.get(at + 1).is_some_and(u8::is_ascii_lowercase);
                    let lower_before = at > 0 && name.get(at - 1).is_some_and(u8::is_ascii_lowercase);
                    if at > 0 && byte.is_ascii_uppercase() && (lower_next || lower_before) {
                        slug.push('-');
                    }
                    slug.push(byte.to_ascii_lowercase() as char);
                }
                slug.push('/');
                Some(slug)
            }
            _ => self.dl().map(|dl| format!("https://github.com/hadolint/hadolint/wiki/{dl}")),
        }
    }
}
