# fish_prompt prints nothing: an idle shell is an empty row
function fish_prompt
end
