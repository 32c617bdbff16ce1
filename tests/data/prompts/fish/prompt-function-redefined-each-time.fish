# an event handler defines fish_prompt anew before each prompt, so a wrapped copy of it is lost at once
function __define_again --on-event fish_prompt
    function fish_prompt
        echo -n 'again '(prompt_pwd)' ❱ '
    end
end
