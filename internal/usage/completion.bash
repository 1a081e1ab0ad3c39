# bash completion for PROGRAM; made by: PROGRAM completion bash

_PROGRAM() {
    # bash cuts words at = : and @ as well; put them together again.
    local line=$COMP_LINE words=() word i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i > 0)) && [[ $line != [[:space:]]* ]]; then
            words[${#words[@]} - 1]+=$word
        else
            line=${line#"${line%%[![:space:]]*}"}
            words+=("$word")
        fi
        line=${line#"$word"}
    done
    local cur=${words[${#words[@]} - 1]}
    # What bash replaces is only the last piece, and an @ before it.
    local before=${cur%"$word"}
    [[ $word == [=:] ]] && before=$cur
    before=${before%@}

    COMPREPLY=()
    local place=none
    while IFS= read -r line; do
        case $line in
        :*) place=${line#:} ;;
        *)
            line=${line%%$'\t'*}
            COMPREPLY+=("${line#"$before"}")
            ;;
        esac
    done < <(command PROGRAM __complete -- "${words[@]:1}" 2>/dev/null)

    local value=${cur#"$before"}
    case $place in
    files) compopt -o filenames 2>/dev/null; words=(-f) ;;
    dirs) compopt -o filenames 2>/dev/null; words=(-d) ;;
    commands) words=(-c) ;;
    *) return ;;
    esac
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <(compgen "${words[@]}" -- "$value")
}

complete -F _PROGRAM PROGRAM
