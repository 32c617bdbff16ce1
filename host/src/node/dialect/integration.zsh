# The shell tells when its line editor begins and ends, and takes up a job by a key that nobody types.
if [[ -n ${ZSH_VERSION-} && -o interactive && -o zle ]]; then
    # Whatever options a person has set: also when it is called, where the shell shows what it runs.
    builtin read -rd '' __assigner_text <<'ASSIGNER' || builtin true
typeset -g __assigner_status=0 __assigner_count=0 __assigner_which='0 0'

# When this process began, and where its stack does: another program that it becomes (`exec`) has
# another one, and so has another process of its number. Without `/proc` neither is known.
__assigner_know() {
    local stat
    local -a fields
    IFS= builtin read -r stat < /proc/$$/stat || return 0
    fields=(${(s: :)${stat##*\) }})
    __assigner_which="$fields[20] $fields[26]"
} 2>/dev/null
__assigner_know

__assigner_tell() {
    builtin printf 'zsh %s %s %s %s\n' $1 $__assigner_count $__assigner_status $__assigner_which >| @DIRECTORY@/$$
} 2>/dev/null

# Before a prompt. A job that has not told of its end has ended without.
__assigner_precmd() {
    __assigner_status=$?
    if [[ -n ${__assigner_job-} ]]; then
        builtin printf '%s\n' $__assigner_status >| $__assigner_job.back
        builtin unset __assigner_job
    fi
    # A job that was interrupted has not brought it back that the shell writes over files.
    if [[ -n ${__assigner_C-} ]]; then
        builtin unset __assigner_C
        builtin set +C
    fi
    __assigner_install
} 2>/dev/null

__assigner_begin() {
    if [[ $CONTEXT == start ]]; then
        (( __assigner_count += 1 ))
        __assigner_tell prompt
    fi
} 2>/dev/null

__assigner_end() {
    __assigner_tell run
}

# A search through the history has a line of its own.
__assigner_found() {
    [[ $CONTEXT == start ]] && __assigner_tell prompt
} 2>/dev/null

# The key was pressed: at the primary prompt, with nothing in the line, the job that is offered is
# taken; else the line stays as it is.
__assigner_take() {
    local answer job
    if [[ $CONTEXT != start || -n $PREBUFFER ]]; then
        answer=unfinished
    elif [[ -n $BUFFER ]]; then
        answer=draft
    elif IFS= builtin read -r job < @DIRECTORY@/$$.job && [[ -n $job ]]; then
        answer=taken
        typeset -g __assigner_line=$job
        BUFFER=$job
        CURSOR=${#BUFFER}
        zle .accept-line
    else
        answer=nothing
    fi
    builtin printf '%s\n' $answer >| @DIRECTORY@/$$.said
} 2>/dev/null

# The line of a job is none of a person's.
__assigner_history() {
    [[ -z ${__assigner_line-} || $1 != "$__assigner_line"$'\n' ]]
}

# `exit` in a job ends the shell: its code is kept. The hook is also called where a subshell exits, and
# the job goes on then.
__assigner_exit() {
    __assigner_status=$?
    if [[ -n ${__assigner_job-} && $ZSH_SUBSHELL == 0 && -t 0 ]]; then
        builtin printf '%s\n' $__assigner_status >| $__assigner_job.exit
    fi
} 2>/dev/null

# A person's own hooks are kept, and ours come back where they were replaced.
__assigner_install() {
    local map
    autoload -Uz add-zle-hook-widget || return 1
    if [[ ${widgets[zle-line-init]-} != *azhw* || ${widgets[zle-line-finish]-} != *azhw* ]]; then
        add-zle-hook-widget line-init __assigner_begin || return 1
        add-zle-hook-widget line-finish __assigner_end || return 1
        add-zle-hook-widget isearch-update __assigner_end
        add-zle-hook-widget isearch-exit __assigner_found
    fi
    zle -N __assigner_take
    for map in emacs viins vicmd; do
        bindkey -M $map '\e[9907~' __assigner_take
    done
    # Where Escape or C-x was pressed before, and the key that they are for was not.
    bindkey -M emacs '\e\e[9907~' __assigner_take
    bindkey -M emacs '^X\e[9907~' __assigner_take
    typeset -ga precmd_functions preexec_functions zshaddhistory_functions zshexit_functions
    precmd_functions=(__assigner_precmd ${precmd_functions:#__assigner_precmd})
    preexec_functions=(${preexec_functions:#__assigner_end} __assigner_end)
    zshaddhistory_functions=(${zshaddhistory_functions:#__assigner_history} __assigner_history)
    zshexit_functions=(__assigner_exit ${zshexit_functions:#__assigner_exit})
} 2>/dev/null

if __assigner_install; then
    typeset -g __assigner_shell=$$
fi
ASSIGNER
    emulate -R zsh -o interactive_comments -c "$__assigner_text"
    builtin unset __assigner_text
fi
