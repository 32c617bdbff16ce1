# fish_prompt itself listens to the event of the same name, so it is called once too often and draws twice
function fish_prompt --on-event fish_prompt
    echo -n 'twice > '
end
