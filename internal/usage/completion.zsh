#compdef PROGRAM
# zsh completion for PROGRAM; made by: PROGRAM completion zsh

_PROGRAM() {
    local line place=none tab=$'\t' cur=${words[CURRENT]}
    local -a found shown
    while IFS= read -r line; do
        case $line in
        :*) place=${line#:} ;;
        *)
            found+=("${line%%$tab*}")
            shown+=("${line%%$tab*}  ${line#*$tab}")
            ;;
        esac
    done < <(command PROGRAM __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)

    local ret=1
    if (( $#found )); then
        compadd -l -d shown -a -- found && ret=0
    fi
    [[ $cur == --*=* ]] && compset -P '*='
    case $place in
    files) _files && ret=0 ;;
    dirs) _files -/ && ret=0 ;;
    commands) _command_names -e && ret=0 ;;
    esac
    return ret
}

if [ "$funcstack[1]" = "_PROGRAM" ]; then
    _PROGRAM "$@"
else
    compdef _PROGRAM PROGRAM
fi
