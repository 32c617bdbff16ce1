# a prompt of more than eighty columns; fish cuts it off at its left and types on a row of its own
function fish_prompt
    echo -n "[$USER@a-machine-with-quite-a-long-name.department.example.org] [production-cluster-eu-west-1] [default] "(prompt_pwd)" > "
end
