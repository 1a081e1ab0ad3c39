# fish completion for PROGRAM; made by: PROGRAM completion fish

function __PROGRAM_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l cur $words[-1]
    set -l before (string match -r '^--[^=]*=' -- $cur)
    set -l value (string replace -r '^--[^=]*=' '' -- $cur)
    for line in (command PROGRAM __complete -- $words[2..-1] 2>/dev/null)
        switch $line
            case ':files'
                for f in (__fish_complete_path $value)
                    echo "$before"$f
                end
            case ':dirs'
                for f in (__fish_complete_directories $value)
                    echo "$before"$f
                end
            case ':commands'
                __fish_complete_command
            case ':*'
            case '*'
                echo $line
        end
    end
end

complete -c PROGRAM -f -a '(__PROGRAM_complete)'
