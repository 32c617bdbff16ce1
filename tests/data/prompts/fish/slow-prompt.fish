# the prompt takes most of half a second to come
function fish_prompt
    sleep 0.4
    echo -n 'slow '(prompt_pwd)' > '
end
