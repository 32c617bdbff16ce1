# The shell tells when it is at its prompt, and takes up a job by a key that nobody types.
if builtin status is-interactive
    builtin set -g __assigner_primary 0
    builtin set -g __assigner_count 0
    builtin set -g __assigner_status 0

    # When this process began, and where its stack does: another program that it becomes (`exec`) has
    # another one, and so has another process of its number. Without `/proc` neither is known.
    builtin set -g __assigner_which 0 0
    if builtin test -r /proc/$fish_pid/stat
        builtin read -l stat </proc/$fish_pid/stat
        builtin set -l fields (builtin string replace -r '.*\) ' '' -- $stat | builtin string split ' ')
        builtin set -g __assigner_which $fields[20] $fields[26]
    end

    function __assigner_tell
        builtin printf 'fish %s %s %s %s %s\n' $argv[1] $__assigner_count $__assigner_status $__assigner_which >@DIRECTORY@/$fish_pid 2>/dev/null
    end

    # A job that has not told of its end has ended without.
    function __assigner_prompt --on-event fish_prompt
        builtin set -g __assigner_status $status
        if builtin set -q __assigner_job
            builtin printf '%s\n' $__assigner_status >$__assigner_job.back 2>/dev/null
            builtin set -eg __assigner_job
        end
        builtin set -g __assigner_primary 1
        builtin set -g __assigner_count (builtin math $__assigner_count + 1)
        __assigner_tell prompt
    end

    function __assigner_run --on-event fish_preexec
        builtin set -g __assigner_primary 0
        __assigner_tell run
    end

    # `exit` in a job ends the shell: its code is kept.
    function __assigner_exit --on-event fish_exit
        builtin set -l code $status
        if builtin set -q __assigner_job; and builtin test -t 0
            builtin printf '%s\n' $code >$__assigner_job.exit 2>/dev/null
        end
    end

    # The key was pressed: at the primary prompt, with nothing in the line, the job that is offered is
    # taken; else the line stays as it is.
    function __assigner_take
        builtin set -l answer nothing
        builtin set -l job
        if builtin test "$__assigner_primary" != 1
            builtin set answer unfinished
        else if builtin commandline --paging-mode; or builtin commandline --search-mode; or builtin test -n "$(builtin commandline --current-buffer | builtin string collect -N)"
            builtin set answer draft
        else if builtin read -l offered <@DIRECTORY@/$fish_pid.job 2>/dev/null; and builtin test -n "$offered"
            builtin set answer taken
            builtin set job $offered
        end
        builtin printf '%s\n' $answer >@DIRECTORY@/$fish_pid.said 2>/dev/null
        if builtin test $answer = taken
            builtin commandline --replace -- $job
            builtin commandline -f execute
        end
    end

    function __assigner_install
        for mode in default insert visual replace replace_one
            builtin bind -M $mode \e\[9907~ __assigner_take
        end
    end

    __assigner_install
    builtin set -g __assigner_shell $fish_pid
end
