# The shell tells when it is at its prompt, and takes up a job by a key that nobody types.
# Needs bash 4.4; does nothing in a shell without a line editor.
case ${BASH_VERSION-}/$- in
    4.[4-9]*/*i* | [5-9].*/*i* | [1-9][0-9].*/*i*)
        # Whether the next line is that of the primary prompt; an array that has nothing in it, by
        # which the other prompts take that back without a process; how often it was drawn.
        __assigner_primary=0
        __assigner_none=()
        __assigner_count=0
        __assigner_status=0

        # When this process began, and where its stack does: another program that it becomes (`exec`) has
        # another one, and so has another process of its number. Without `/proc` neither is known.
        __assigner_which='0 0'
        __assigner_know() {
            \builtin local stat fields
            IFS= \builtin read -r stat < /proc/$$/stat || \builtin return 0
            IFS=' ' \builtin read -r -a fields <<< "${stat##*) }"
            __assigner_which="${fields[19]} ${fields[25]}"
        } 2>/dev/null
        __assigner_know

        __assigner_tell() {
            \builtin printf 'bash %s %s %s %s\n' "$1" "$__assigner_count" "$__assigner_status" "$__assigner_which" >| @DIRECTORY@/$$
        } 2>/dev/null

        # First of all that is run before a prompt: what the line has ended with.
        __assigner_before() {
            __assigner_status=$?
            \builtin return "$__assigner_status"
        }

        # Last of it. A job that has not told of its end has ended without.
        __assigner_prompt() {
            if [[ ${__assigner_job-} ]]; then
                \builtin printf '%s\n' "$__assigner_status" >| "$__assigner_job.back"
                \builtin unset __assigner_job
            fi
            # A job that was interrupted has not brought it back that the shell writes over files, or shows
            # what it runs.
            case ${__assigner_C-} in 1) \builtin unset __assigner_C; \builtin set +C ;; esac
            case ${__assigner_x-} in
                *x*v* | *v*x*) \builtin unset __assigner_x; \builtin set -xv ;;
                *x*) \builtin unset __assigner_x; \builtin set -x ;;
                *v*) \builtin unset __assigner_x; \builtin set -v ;;
            esac
            __assigner_keep
            __assigner_hook
            __assigner_primary=1
            __assigner_count=$((__assigner_count + 1))
            __assigner_tell prompt
            \builtin return "$__assigner_status"
        } 2>/dev/null

        # A person's settings are kept, and ours stand in what they are set to later.
        __assigner_keep() {
            # shellcheck disable=SC2016
            \builtin local mark='${__assigner_none[__assigner_primary=0]-}'
            [[ ${PS0-} == *__assigner_primary* ]] || PS0=$mark${PS0-}
            [[ ${PS2-} == *__assigner_primary* ]] || PS2=$mark${PS2-}
        }

        # A person's prompt may set `PROMPT_COMMAND` anew each time: what stood there runs once more, and that
        # is enough to stand there again.
        __assigner_hook() {
            if [[ "${PROMPT_COMMAND[*]-}" != *__assigner_prompt* ]]; then
                # A shell that shows what it runs shows nothing of them.
                \builtin local before='{ __assigner_before; } 2>/dev/null' after='{ __assigner_prompt; } 2>/dev/null'
                if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 501)) && [[ $(\builtin declare -p PROMPT_COMMAND 2>/dev/null) == "declare -"*a* ]]; then
                    PROMPT_COMMAND=("$before" "${PROMPT_COMMAND[@]}" "$after")
                else
                    PROMPT_COMMAND=$before${PROMPT_COMMAND:+$'\n'$PROMPT_COMMAND}$'\n'$after
                fi
            fi
        }

        __assigner_install() {
            __assigner_keep
            [[ ${PS0-} == *__assigner_primary* && ${PS2-} == *__assigner_primary* ]] || \builtin return 1
            __assigner_hook
            \builtin local map
            for map in emacs-standard vi-insert vi-command; do
                \builtin bind -m "$map" -x '"\e[9908~": __assigner_take'
                \builtin bind -m "$map" '"\e[9909~": ""'
                \builtin bind -m "$map" '"\e[9907~": "\e[9908~\e[9909~"'
            done
            # Where Escape or C-x was pressed before, and the key that they are for was not.
            \builtin bind -m emacs-standard '"\e\e[9907~": "\e[9908~\e[9909~"'
            \builtin bind -m emacs-standard '"\C-x\e[9907~": "\e[9908~\e[9909~"'
        } 2>/dev/null

        # The key was pressed: at the primary prompt, with nothing in the line, the job that is offered
        # is taken; else the line stays as it is.
        __assigner_take() {
            \builtin local answer job= map then='"\e[9909~": ""'
            if ((!__assigner_primary)); then
                answer=unfinished
            elif [[ ${READLINE_LINE-} ]]; then
                answer=draft
            elif IFS= \builtin read -r job < @DIRECTORY@/$$.job && [[ $job ]]; then
                answer=taken
                READLINE_LINE=$job
                READLINE_POINT=${#job}
                __assigner_line=$job
                then='"\e[9909~": accept-line'
            else
                answer=nothing
            fi
            \builtin printf '%s\n' "$answer" >| @DIRECTORY@/$$.said
            for map in emacs-standard vi-insert vi-command; do
                \builtin bind -m "$map" "$then"
            done
        } 2>/dev/null

        # The line of a job is none of a person's.
        __assigner_forget() {
            \builtin local number line
            [[ ${__assigner_line-} ]] || \builtin return 0
            HISTTIMEFORMAT='' \builtin history 1 >| @DIRECTORY@/$$.line
            IFS=' ' \builtin read -r number line < @DIRECTORY@/$$.line
            [[ $line == "${__assigner_line# }" ]] && \builtin history -d "${number%\*}"
            \builtin unset __assigner_line
            \builtin return 0
        } 2>/dev/null

        if [[ -o emacs || -o vi ]] && \builtin shopt -q promptvars && __assigner_install; then
            __assigner_shell=$$
        fi
        ;;
esac
